//! Static metadata of HDR10 (SMPTE ST 2086 and CTA-861.3), which displays need for tone mapping.

use serde::{Deserialize, Serialize};

/// Steps per unit of a chromaticity coordinate in HEVC's SEI messages (H.265, D.2.28).
const COORDINATE_STEPS: f64 = 50_000.0;
/// Steps per cd/m² of a luminance in HEVC's SEI messages.
const LUMINANCE_STEPS: f64 = 10_000.0;
/// The highest accepted luminance, in steps: twice the maximum of SMPTE ST 2084.
const MAX_LUMINANCE_STEPS: f64 = 20_000.0 * LUMINANCE_STEPS;

/// Static metadata of HDR10. Values that are absent or out of range are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HdrMetadata {
    /// Mastering display: x and y of green, blue, red and the white point in steps of 0.00002, then the maximum and the
    /// minimum luminance in steps of 0.0001 cd/m².
    pub display: Option<[u32; 10]>,
    /// Content light level: MaxCLL and MaxFALL, cd/m².
    pub content: Option<(u32, u32)>,
}

/// Parses `ffprobe -show_frames -show_streams -of json` of the first frame. The metadata is in the frame or in the
/// container.
pub fn parse_hdr_metadata(json: &[u8]) -> HdrMetadata {
    let described: Described = serde_json::from_slice(json).unwrap_or_default();
    let both = described.frames.into_iter().chain(described.streams);
    let side_data: Vec<_> = both.flat_map(|holder| holder.side_data_list).collect();
    HdrMetadata {
        display: side_data.iter().find_map(SideData::display),
        content: side_data.iter().find_map(|data| Some((data.max_content?, data.max_average?))),
    }
}

#[derive(Deserialize, Default)]
struct Described {
    #[serde(default)]
    frames: Vec<Holder>,
    #[serde(default)]
    streams: Vec<Holder>,
}

/// A frame or a stream.
#[derive(Deserialize)]
struct Holder {
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

/// Side data of any kind; the other kinds have none of these fields.
#[derive(Deserialize)]
struct SideData {
    green_x: Option<String>,
    green_y: Option<String>,
    blue_x: Option<String>,
    blue_y: Option<String>,
    red_x: Option<String>,
    red_y: Option<String>,
    white_point_x: Option<String>,
    white_point_y: Option<String>,
    max_luminance: Option<String>,
    min_luminance: Option<String>,
    max_content: Option<u32>,
    max_average: Option<u32>,
}

impl SideData {
    fn display(&self) -> Option<[u32; 10]> {
        let coordinate = |text: &Option<String>| steps(text.as_deref()?, COORDINATE_STEPS, COORDINATE_STEPS);
        let luminance = |text: &Option<String>| steps(text.as_deref()?, LUMINANCE_STEPS, MAX_LUMINANCE_STEPS);
        Some([
            coordinate(&self.green_x)?,
            coordinate(&self.green_y)?,
            coordinate(&self.blue_x)?,
            coordinate(&self.blue_y)?,
            coordinate(&self.red_x)?,
            coordinate(&self.red_y)?,
            coordinate(&self.white_point_x)?,
            coordinate(&self.white_point_y)?,
            luminance(&self.max_luminance)?,
            luminance(&self.min_luminance)?,
        ])
    }
}

/// A fraction such as `8500/50000` in steps of 1/`steps_per_unit`. None if it is negative or more than `max` steps.
fn steps(text: &str, steps_per_unit: f64, max: f64) -> Option<u32> {
    let (num, den) = text.split_once('/')?;
    let steps = num.parse::<f64>().ok()? / den.parse::<f64>().ok()? * steps_per_unit;
    (0.0..=max).contains(&steps).then_some(steps.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::{HdrMetadata, parse_hdr_metadata};

    const FRAME: &str = r#"{"frames":[{"side_data_list":[
      {"side_data_type":"H.26[45] User Data Unregistered SEI message"},
      {"side_data_type":"Mastering display metadata","red_x":"35400/50000","red_y":"14600/50000","green_x":"8500/50000",
       "green_y":"39850/50000","blue_x":"6550/50000","blue_y":"2300/50000","white_point_x":"15635/50000",
       "white_point_y":"16450/50000","min_luminance":"50/10000","max_luminance":"10000000/10000"},
      {"side_data_type":"Content light level metadata","max_content":1000,"max_average":400}]}]}"#;

    #[test]
    fn parse_hdr_metadata_reads_valid_values_only() {
        let hdr_metadata = parse_hdr_metadata(FRAME.as_bytes());
        let display = [8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450, 10_000_000, 50];
        assert_eq!(hdr_metadata, HdrMetadata { display: Some(display), content: Some((1000, 400)) });
        for (right, wrong) in [("35400/50000", "35400/0"), ("50/10000", "-1/10000"), ("6550", "60000")] {
            let hdr_metadata = parse_hdr_metadata(FRAME.replace(right, wrong).as_bytes());
            assert_eq!((hdr_metadata.display, hdr_metadata.content), (None, Some((1000, 400))), "{wrong}");
        }
        let by_container = FRAME.replace("frames", "streams");
        assert_eq!(parse_hdr_metadata(by_container.as_bytes()), parse_hdr_metadata(FRAME.as_bytes()));
        for nothing in ["", "{}", "{\"frames\":[{}]}"] {
            assert_eq!(parse_hdr_metadata(nothing.as_bytes()), HdrMetadata::default());
        }
    }
}
