//! The poster and the thumbnails show the moments they stand for.

use crate::job::{Job, done, options};
use crate::numbered::{H264, number_in, numbered};
use reelmill_media::plan::Options;
use reelmill_media::playlists::thumbnails::Sheet;

/// The numbers of the frames that a sheet shows.
fn shown(job: &Job, sheet: &Sheet) -> Vec<u32> {
    let file = job.path(&sheet.uri);
    (0..sheet.count)
        .map(|place| {
            let (x, y) =
                (place % sheet.columns * sheet.tile.width, place / sheet.columns * sheet.tile.height);
            number_in(&file, &format!("crop={}:{}:{x}:{y}", sheet.tile.width, sheet.tile.height))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_video_has_a_thumbnail_a_second() {
    let clip = numbered("short.mp4", "25", 250, &format!("{H264} -c:a aac"));
    let job = done(&clip.file, &options(&[144])).await;
    let [sheet] = &job.board.sheets()[..] else { panic!("{:?}", job.board.sheets()) };
    assert_eq!((sheet.count, sheet.start, sheet.interval), (10, 0.0, 1.0));
    assert_eq!((sheet.tile.width, sheet.tile.height), (160, 90));
    assert_eq!(shown(&job, sheet), (0..10).map(|second| second * 25).collect::<Vec<_>>());
    let index = job.text("thumbnails.vtt");
    assert_eq!(index.matches("-->").count(), 10);
    assert!(
        index.contains("00:00:06.000 --> 00:00:07.000\n0.1/thumbnails/sheet_00000.jpg#xywh=160,90,160,90\n")
    );
    // A tenth into the video.
    assert_eq!(number_in(&job.poster(), "null"), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_of_a_cut_video_are_even_across_its_chunks() {
    let clip = numbered("cut.mp4", "25", 1050, &format!("{H264} -g 100"));
    let wished = Options { poster_seconds: Some(7.0), ..options(&[144]) };
    let job = done(&clip.file, &wished).await;
    let sheets = job.board.sheets();
    assert_eq!(sheets.iter().map(|sheet| sheet.count).collect::<Vec<_>>(), [1, 2, 4, 4]);
    let all: Vec<u32> = sheets.iter().flat_map(|sheet| shown(&job, sheet)).collect();
    assert_eq!(all, (0..11).map(|place| place * 100).collect::<Vec<_>>());
    for (sheet, start) in sheets.iter().zip([0.0, 4.0, 12.0, 28.0]) {
        assert_eq!((sheet.start, sheet.interval), (start, 4.0));
    }
    assert_eq!(number_in(&job.poster(), "null"), 175, "the moment that was wished for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poster_between_two_chunks_is_made_by_one_of_them() {
    // Segments are of 96 frames, 4.004 s: the moment lies behind the last frame of one, and before the first of the next.
    let clip = numbered("film.mp4", "24000/1001", 1000, H264);
    let wished = Options { poster_seconds: Some(4.0), ..options(&[144]) };
    let job = done(&clip.file, &wished).await;
    assert!(!job.plan.is_single());
    assert_eq!(number_in(&job.poster(), "null"), 95, "the frame that is shown then");
}
