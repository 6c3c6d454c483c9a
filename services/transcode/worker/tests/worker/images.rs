//! The poster and the thumbnails show the frames at their timestamps.

use crate::support::{H264, Job, frame_number_in, numbered_clip, options, transcoded};
use reelmill_media::plan::Options;
use reelmill_media::playlists::thumbnails::Sheet;

/// Numbers of the frames that a sheet shows.
fn sheet_numbers(job: &Job, sheet: &Sheet) -> Vec<u32> {
    let file = job.path(&sheet.uri);
    (0..sheet.count)
        .map(|index| {
            let (x, y) =
                (index % sheet.columns * sheet.tile.width, index / sheet.columns * sheet.tile.height);
            frame_number_in(&file, &format!("crop={}:{}:{x}:{y}", sheet.tile.width, sheet.tile.height))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_of_short_video_are_a_second_apart() {
    let clip = numbered_clip("short.mp4", "25", 250, &format!("{H264} -c:a aac"));
    let job = transcoded(&clip.file, &options(&[144])).await;
    let [sheet] = &job.outputs.sheets()[..] else { panic!("{:?}", job.outputs.sheets()) };
    assert_eq!((sheet.count, sheet.start, sheet.interval), (10, 0.0, 1.0));
    assert_eq!((sheet.tile.width, sheet.tile.height), (160, 90));
    assert_eq!(sheet_numbers(&job, sheet), (0..10).map(|second| second * 25).collect::<Vec<_>>());
    let index = job.text("thumbnails.vtt");
    assert_eq!(index.matches("-->").count(), 10);
    assert!(
        index.contains("00:00:06.000 --> 00:00:07.000\n0.1/thumbnails/sheet_00000.jpg#xywh=160,90,160,90\n")
    );
    // The default poster is at a tenth of the duration.
    assert_eq!(frame_number_in(&job.poster(), "null"), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_of_chunked_video_are_evenly_spaced() {
    let clip = numbered_clip("cut.mp4", "25", 1050, &format!("{H264} -g 100"));
    let options = Options { poster_seconds: Some(7.0), ..options(&[144]) };
    let job = transcoded(&clip.file, &options).await;
    let sheets = job.outputs.sheets();
    assert_eq!(sheets.iter().map(|sheet| sheet.count).collect::<Vec<_>>(), [1, 2, 4, 4]);
    let all: Vec<u32> = sheets.iter().flat_map(|sheet| sheet_numbers(&job, sheet)).collect();
    assert_eq!(all, (0..11).map(|index| index * 100).collect::<Vec<_>>());
    for (sheet, start) in sheets.iter().zip([0.0, 4.0, 12.0, 28.0]) {
        assert_eq!((sheet.start, sheet.interval), (start, 4.0));
    }
    assert_eq!(frame_number_in(&job.poster(), "null"), 175, "the requested timestamp");
}

#[tokio::test(flavor = "multi_thread")]
async fn poster_between_two_chunks_is_encoded_once() {
    // Segments have 96 frames, 4.004 s: 4.0 s is after the start of the last frame of one and before the next one.
    let clip = numbered_clip("film.mp4", "24000/1001", 1000, H264);
    let options = Options { poster_seconds: Some(4.0), ..options(&[144]) };
    let job = transcoded(&clip.file, &options).await;
    assert!(!job.plan.is_single());
    assert_eq!(frame_number_in(&job.poster(), "null"), 95, "the frame that is shown at 4.0 s");
}
