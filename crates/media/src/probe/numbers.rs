//! Numbers as ffprobe prints them.

/// A finite number.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The presentation time of each packet in a list of `ffprobe -show_entries packet=pts_time,dts_time,flags -of csv=p=0`; where
/// the container has none, the decode time.
pub(crate) fn packet_times(packets: &str) -> impl Iterator<Item = f64> {
    packets.lines().filter_map(|line| {
        let mut fields = line.split(',');
        number(fields.next()?).or(number(fields.next()?))
    })
}

/// A non-negative number.
pub(super) fn seconds(text: &str) -> Option<f64> {
    number(text).filter(|&seconds| seconds >= 0.0)
}

/// An aspect ratio of two positive numbers, for example `4:3`.
pub(super) fn aspect_ratio(text: &str) -> Option<(u32, u32)> {
    let (num, den) = text.split_once(':')?;
    Some((num.parse().ok().filter(|&n| n > 0)?, den.parse().ok().filter(|&n| n > 0)?))
}

/// A display matrix: three lines such as `00000000:  0  65536  0`.
pub(super) fn matrix(text: &str) -> Option<[i64; 9]> {
    let numbers: Vec<i64> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, row)| row.split_whitespace())
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    numbers.try_into().ok()
}
