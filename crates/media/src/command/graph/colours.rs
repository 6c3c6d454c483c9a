//! Filters for colour spaces, transparency and tone mapping.

use crate::probe::{Video, VideoRange};

/// Prefixes of the names of RGB pixel formats.
const RGB_FORMATS: [&str; 9] = ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2"];
/// From this short side on a video is HD, and players assume BT.709 unless it is tagged otherwise.
const HD_MIN_SHORT_SIDE: u32 = 720;

/// Tags the colour space if the source does not: by the frame size, as players assume it. Otherwise players would assume
/// another one for the lower rungs than for the higher ones. Converts RGB to BT.709.
pub(super) fn colour_tags(video: &Video) -> String {
    if video.range != VideoRange::Sdr {
        return String::new();
    }
    let is_rgb = has_format(video, &RGB_FORMATS);
    let conversion = if is_rgb { ",scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" } else { "" };
    let tags = match video {
        _ if video.has_colour_tags && !is_rgb => "",
        _ if is_rgb || video.stored.short() >= HD_MIN_SHORT_SIDE => {
            ",setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
        }
        _ => ",setparams=colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m",
    };
    format!("{conversion}{tags}")
}

/// Blends transparent pixels with black.
pub(super) fn remove_alpha(video: &Video) -> &'static str {
    match video {
        _ if has_format(video, &["yuva"]) => ",format=yuva444p,premultiply=inplace=1",
        _ if has_format(video, &["rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16"]) => {
            ",format=gbrap,premultiply=inplace=1"
        }
        _ => "",
    }
}

fn has_format(video: &Video, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| video.pixel_format.starts_with(prefix))
}

/// Tone maps HDR to standard dynamic range.
pub(super) fn tone_map(range: VideoRange) -> &'static str {
    match range {
        VideoRange::Sdr => "",
        VideoRange::Pq => {
            ",zscale=tin=smpte2084:min=bt2020nc:pin=bt2020:rin=tv:t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
             tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
        }
        VideoRange::Hlg => {
            ",zscale=tin=arib-std-b67:min=bt2020nc:pin=bt2020:rin=tv:t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
             tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
        }
    }
}
