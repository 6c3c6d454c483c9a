//! Geometry of video tracks: cropping, which ffmpeg before 7.1 does not read.

use super::elements::{elements, number, track_entries};
use crate::geometry::Size;

const TRACK_TYPE: u32 = 0x83;
const VIDEO: u32 = 0xE0;
const PIXEL_WIDTH: u32 = 0xB0;
const PIXEL_HEIGHT: u32 = 0xBA;
const CROP_BOTTOM: u32 = 0x54AA;
const CROP_TOP: u32 = 0x54BB;
const CROP_LEFT: u32 = 0x54CC;
const CROP_RIGHT: u32 = 0x54DD;
const DISPLAY_WIDTH: u32 = 0x54B0;
const DISPLAY_HEIGHT: u32 = 0x54BA;
const DISPLAY_UNIT: u32 = 0x54B2;
/// [`TRACK_TYPE`] of video.
const TYPE_VIDEO: u64 = 1;
/// [`DISPLAY_UNIT`] of a display size that is not known.
const UNIT_UNKNOWN: u64 = 4;

/// How a video track is displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackGeometry {
    /// Size of the coded frame.
    pub coded: Size,
    /// First pixel that is displayed, from the left.
    pub left: u32,
    /// First line that is displayed, from the top.
    pub top: u32,
    /// Size of the part that is displayed, in coded pixels.
    pub visible: Size,
    /// Pixel aspect ratio of that part: width and height of one pixel, times any number.
    pub pixel_aspect: (u64, u64),
}

/// The geometry of each video track, in the order of the tracks, by the first bytes of a file. Empty if the tracks are not
/// within these.
pub fn video_tracks(head: &[u8]) -> Vec<TrackGeometry> {
    track_entries(head).filter_map(video_track).collect()
}

fn video_track(entry: &[u8]) -> Option<TrackGeometry> {
    if number(entry, TRACK_TYPE) != Some(TYPE_VIDEO) {
        return None;
    }
    let video = elements(entry).find(|element| element.id == VIDEO)?.body;
    let pixels = |id: u32| number(video, id).and_then(|value| u32::try_from(value).ok());
    let coded = Size { width: pixels(PIXEL_WIDTH)?, height: pixels(PIXEL_HEIGHT)? };
    let crop = |id: u32| pixels(id).unwrap_or(0);
    let (left, top) = (crop(CROP_LEFT), crop(CROP_TOP));
    let rest = |size: u32, before: u32, after: u32| {
        size.checked_sub(before)?.checked_sub(after).filter(|&rest| rest > 0)
    };
    let visible = Size {
        width: rest(coded.width, left, crop(CROP_RIGHT))?,
        height: rest(coded.height, top, crop(CROP_BOTTOM))?,
    };
    let display =
        |id: u32, default: u32| number(video, id).filter(|&size| size > 0).unwrap_or(u64::from(default));
    let (width, height) = (display(DISPLAY_WIDTH, visible.width), display(DISPLAY_HEIGHT, visible.height));
    let pixel_aspect = if number(video, DISPLAY_UNIT) == Some(UNIT_UNKNOWN) {
        (1, 1)
    } else {
        (width.checked_mul(u64::from(visible.height))?, height.checked_mul(u64::from(visible.width))?)
    };
    Some(TrackGeometry { coded, left, top, visible, pixel_aspect })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matroska::elements::{SEGMENT, TRACK_ENTRY, TRACKS};

    fn element(id: u32, body: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
        let size = (u64::try_from(body.len()).expect("size") | 1 << 56).to_be_bytes();
        [&id, &size[..], body].concat()
    }

    fn file(settings: &[(u32, u16)]) -> Vec<u8> {
        let settings = [&[(PIXEL_WIDTH, 1280), (PIXEL_HEIGHT, 720)], settings].concat();
        let video: Vec<u8> =
            settings.iter().flat_map(|(id, value)| element(*id, &value.to_be_bytes())).collect();
        let audio = element(TRACK_ENTRY, &element(TRACK_TYPE, &[2]));
        let entry = element(TRACK_ENTRY, &[element(TRACK_TYPE, &[1]), element(VIDEO, &video)].concat());
        let tracks = element(TRACKS, &[audio, entry].concat());
        [element(0x1A45_DFA3, b"header"), element(SEGMENT, &[element(0xEC, &[0; 9]), tracks].concat())]
            .concat()
    }

    fn tracks(settings: &[(u32, u16)]) -> Vec<TrackGeometry> {
        video_tracks(&file(settings))
    }

    #[test]
    fn video_tracks_reads_cropping_and_aspect() {
        let size = |width, height| Size { width, height };
        let plain = tracks(&[])[0];
        assert_eq!((plain.coded, plain.visible), (size(1280, 720), size(1280, 720)));
        assert_eq!(plain.pixel_aspect.0, plain.pixel_aspect.1);
        let cropped =
            tracks(&[(CROP_TOP, 92), (CROP_BOTTOM, 92), (DISPLAY_WIDTH, 1280), (DISPLAY_HEIGHT, 536)])[0];
        assert_eq!((cropped.top, cropped.left, cropped.visible), (92, 0, size(1280, 536)));
        assert_eq!(cropped.pixel_aspect.0, cropped.pixel_aspect.1, "square");
        let wide = tracks(&[
            (CROP_LEFT, 280),
            (CROP_RIGHT, 40),
            (DISPLAY_WIDTH, 16),
            (DISPLAY_HEIGHT, 9),
            (DISPLAY_UNIT, 3),
        ])[0];
        assert_eq!((wide.left, wide.visible), (280, size(960, 720)));
        assert_eq!(wide.pixel_aspect, (16 * 720, 9 * 960));
        let unknown = tracks(&[(DISPLAY_WIDTH, 16), (DISPLAY_UNIT, 4)])[0];
        assert_eq!(unknown.pixel_aspect, (1, 1));
    }

    #[test]
    fn video_tracks_without_visible_pixels_or_complete_tracks_are_left_out() {
        assert_eq!(tracks(&[(CROP_TOP, 700), (CROP_BOTTOM, 20)]), []);
        let file = file(&[]);
        assert_eq!(video_tracks(&file[..file.len() - 1]), []);
        assert_eq!(video_tracks(b""), []);
    }

    proptest! {
        #[test]
        fn video_tracks_of_any_bytes_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
            let _ = video_tracks(&bytes);
            let mut file = file(&[(CROP_TOP, 92)]);
            let at = at % file.len();
            file.splice(at..at, bytes);
            let _ = video_tracks(&file);
        }
    }
}
