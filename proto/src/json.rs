//! JSON output of API messages (the proto3 JSON mapping).

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions, prost::Message};

use crate::descriptors::DESCRIPTORS;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the build script decoded the same bytes"));

/// A message in the proto3 JSON mapping. Fields with default values are included, so that a reader finds an empty list
/// rather than no list.
///
/// `full_name` is the full name of the message, as `reelmill.upload.v1.Video`.
///
/// # Panics
/// If `full_name` is not the message's name.
pub fn to_json<M: Message>(full_name: &str, message: &M) -> String {
    let descriptor = POOL.get_message_by_name(full_name).expect("the name of an API message");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message decodes as its own type");
    let mut out = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false);
    dynamic
        .serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options)
        .expect("writing to memory succeeds");
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use crate::generated::upload::v1::{Video, video::State};

    #[test]
    fn to_json_includes_default_values_and_names_enum_values() {
        let video = Video { name: "videos/a".to_owned(), state: State::Ready.into(), ..Video::default() };
        let json = super::to_json("reelmill.upload.v1.Video", &video);
        assert!(json.contains(r#""state":"READY""#), "{json}");
        assert!(json.contains(r#""renditions":[]"#), "{json}");
        assert!(json.contains(r#""playbackUri":"""#), "{json}");
    }
}
