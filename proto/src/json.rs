//! The contract's JSON form (the proto3 JSON mapping).

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions, prost::Message};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(crate::DESCRIPTORS).expect("the build decoded the same bytes"));

/// Prints a message in the proto3 JSON mapping, fields with default values included, so that a
/// reader finds an empty list rather than nothing.
///
/// `full_name` is the message's name, as `reelmill.upload.v1.Video`.
pub fn to_json<M: Message>(full_name: &str, message: &M) -> String {
    let descriptor = POOL.get_message_by_name(full_name).expect("callers name messages of the contract");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message decodes as its own type");
    let mut out = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false);
    dynamic
        .serialize_with_options(&mut prost_reflect_serializer(&mut out), &options)
        .expect("writing to memory succeeds");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn prost_reflect_serializer(out: &mut Vec<u8>) -> serde_json::Serializer<&mut Vec<u8>> {
    serde_json::Serializer::new(out)
}

#[cfg(test)]
mod tests {
    use crate::upload::{Video, video::State};

    #[test]
    fn states_are_plain_words_and_empty_lists_are_there() {
        let video = Video { name: "videos/a".to_owned(), state: State::Ready.into(), ..Video::default() };
        let json = super::to_json("reelmill.upload.v1.Video", &video);
        assert!(json.contains(r#""state":"READY""#), "{json}");
        assert!(json.contains(r#""renditions":[]"#), "{json}");
        assert!(json.contains(r#""playbackUri":"""#), "{json}");
    }
}
