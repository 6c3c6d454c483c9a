//! What an HDR10 picture says of the light it was mastered with, as a display needs it to map it to its own.

use serde::{Deserialize, Serialize};

/// Steps of a colour's coordinate, and of a luminance, in HEVC's own messages (D.2.28 of H.265).
const COORDINATES: f64 = 50_000.0;
const LUMINANCES: f64 = 10_000.0;
/// Twice the brightest that SMPTE ST 2084 knows, in those steps.
const BRIGHTEST: f64 = 20_000.0 * LUMINANCES;

/// HDR10's static metadata. What is missing was not told, or makes no sense.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HdrMetadata {
    /// The mastering display: x and y of green, blue, red and white in steps of 0.00002, then its brightest and its
    /// darkest in steps of 0.0001 cd/m².
    pub display: Option<[u32; 10]>,
    /// The brightest pixel, and the brightest mean of a picture, cd/m².
    pub content: Option<(u32, u32)>,
}

/// Reads `ffprobe -show_frames -show_streams -of json`, of the first picture: it, or its container, may tell.
pub fn parse_hdr_metadata(json: &[u8]) -> HdrMetadata {
    let described: Described = serde_json::from_slice(json).unwrap_or_default();
    let both = described.frames.into_iter().chain(described.streams);
    let told: Vec<_> = both.flat_map(|teller| teller.side_data_list).collect();
    HdrMetadata {
        display: told.iter().find_map(Told::display),
        content: told.iter().find_map(|told| Some((told.max_content?, told.max_average?))),
    }
}

#[derive(Deserialize, Default)]
struct Described {
    #[serde(default)]
    frames: Vec<Teller>,
    #[serde(default)]
    streams: Vec<Teller>,
}

#[derive(Deserialize)]
struct Teller {
    #[serde(default)]
    side_data_list: Vec<Told>,
}

/// Any side data; every other kind has none of these.
#[derive(Deserialize)]
struct Told {
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

impl Told {
    fn display(&self) -> Option<[u32; 10]> {
        let coordinate = |text: &Option<String>| steps(text.as_deref()?, COORDINATES, COORDINATES);
        let luminance = |text: &Option<String>| steps(text.as_deref()?, LUMINANCES, BRIGHTEST);
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

/// `8500/50000` in steps of one in `scale`, at most `most` of them.
fn steps(text: &str, scale: f64, most: f64) -> Option<u32> {
    let (number, of) = text.split_once('/')?;
    let steps = number.parse::<f64>().ok()? / of.parse::<f64>().ok()? * scale;
    (0.0..=most).contains(&steps).then_some(steps.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::{HdrMetadata, parse_hdr_metadata};

    const TOLD: &str = r#"{"frames":[{"side_data_list":[
      {"side_data_type":"H.26[45] User Data Unregistered SEI message"},
      {"side_data_type":"Mastering display metadata","red_x":"35400/50000","red_y":"14600/50000","green_x":"8500/50000",
       "green_y":"39850/50000","blue_x":"6550/50000","blue_y":"2300/50000","white_point_x":"15635/50000",
       "white_point_y":"16450/50000","min_luminance":"50/10000","max_luminance":"10000000/10000"},
      {"side_data_type":"Content light level metadata","max_content":1000,"max_average":400}]}]}"#;

    #[test]
    fn what_is_told_is_read_and_nonsense_is_not() {
        let hdr_metadata = parse_hdr_metadata(TOLD.as_bytes());
        let display = [8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450, 10_000_000, 50];
        assert_eq!(hdr_metadata, HdrMetadata { display: Some(display), content: Some((1000, 400)) });
        for (right, wrong) in [("35400/50000", "35400/0"), ("50/10000", "-1/10000"), ("6550", "60000")] {
            let hdr_metadata = parse_hdr_metadata(TOLD.replace(right, wrong).as_bytes());
            assert_eq!((hdr_metadata.display, hdr_metadata.content), (None, Some((1000, 400))), "{wrong}");
        }
        let by_container = TOLD.replace("frames", "streams");
        assert_eq!(parse_hdr_metadata(by_container.as_bytes()), parse_hdr_metadata(TOLD.as_bytes()));
        for nothing in ["", "{}", "{\"frames\":[{}]}"] {
            assert_eq!(parse_hdr_metadata(nothing.as_bytes()), HdrMetadata::default());
        }
    }
}
