//! Kind and state of a rendition, as stored.

use reelmill_proto::transcode::rendition as proto;
use sea_orm::{DeriveActiveEnum, EnumIter, prelude::StringLen};

/// What a rendition contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum RenditionKind {
    #[sea_orm(string_value = "VIDEO")]
    Video,
    #[sea_orm(string_value = "AUDIO")]
    Audio,
    #[sea_orm(string_value = "SUBTITLES")]
    Subtitles,
}

/// Encoding state of a rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum RenditionState {
    #[sea_orm(string_value = "PENDING")]
    Pending,
    #[sea_orm(string_value = "ENCODING")]
    Encoding,
    #[sea_orm(string_value = "READY")]
    Ready,
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

impl From<proto::Kind> for RenditionKind {
    /// UNSPECIFIED, which transcode never sends, becomes VIDEO.
    fn from(kind: proto::Kind) -> Self {
        match kind {
            proto::Kind::Unspecified | proto::Kind::Video => Self::Video,
            proto::Kind::Audio => Self::Audio,
            proto::Kind::Subtitles => Self::Subtitles,
        }
    }
}

impl From<RenditionKind> for proto::Kind {
    fn from(kind: RenditionKind) -> Self {
        match kind {
            RenditionKind::Video => Self::Video,
            RenditionKind::Audio => Self::Audio,
            RenditionKind::Subtitles => Self::Subtitles,
        }
    }
}

impl From<proto::State> for RenditionState {
    /// UNSPECIFIED, which transcode never sends, becomes PENDING.
    fn from(state: proto::State) -> Self {
        match state {
            proto::State::Unspecified | proto::State::Pending => Self::Pending,
            proto::State::Encoding => Self::Encoding,
            proto::State::Ready => Self::Ready,
            proto::State::Failed => Self::Failed,
        }
    }
}

impl From<RenditionState> for proto::State {
    fn from(state: RenditionState) -> Self {
        match state {
            RenditionState::Pending => Self::Pending,
            RenditionState::Encoding => Self::Encoding,
            RenditionState::Ready => Self::Ready,
            RenditionState::Failed => Self::Failed,
        }
    }
}
