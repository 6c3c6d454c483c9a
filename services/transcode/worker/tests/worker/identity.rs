//! Output bytes depend on the plan alone: not on who made what, in which order, how often, or who died over it.

use crate::job::{Job, options};
use crate::numbered::{H264, numbered};
use crate::support::Clip;
use futures::{StreamExt, stream};
use reelmill_media::plan::{Codec, Options};
use std::collections::{BTreeMap, HashMap};

fn source() -> Clip {
    let open = "-g 75 -x264-params open-gop=1:bframes=3:b-pyramid=normal";
    numbered("source.mp4", "25", 1050, &format!("{H264} {open} -c:a aac"))
}

fn two_rungs() -> Options {
    options(&[144, 96])
}

fn assert_same(expected: &BTreeMap<String, Vec<u8>>, actual: &BTreeMap<String, Vec<u8>>) {
    let names = |contents: &BTreeMap<String, Vec<u8>>| contents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(actual));
    let differing: Vec<_> = expected
        .iter()
        .filter(|(name, bytes)| actual.get(*name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert!(differing.is_empty(), "{differing:?}");
}

/// What one worker makes that does one task after the other.
async fn alone(clip: &Clip) -> Job {
    let job = Job::of(&clip.file, &two_rungs()).await;
    job.run().await.expect("done");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn two_and_eight_workers_in_another_order_make_the_same_bytes() {
    let clip = source();
    let one = alone(&clip).await;
    let expected = one.board.contents();
    assert!(expected.len() > 3 * 11, "{:?}", expected.keys());
    for workers in [2, 8] {
        let job = Job::of(&clip.file, &two_rungs()).await;
        assert_eq!(job.plan, one.plan, "a plan depends on the source alone");
        // Each takes what is left, the last ones first.
        let left = (0..job.plan.work_units.len()).rev();
        let mut working = stream::iter(left).map(|work_unit| job.encode(work_unit)).buffer_unordered(workers);
        while let Some(done) = working.next().await {
            done.expect("done");
        }
        drop(working);
        job.package().await.expect("packaged");
        assert_same(&expected, &job.board.contents());
    }
}

/// Noise needs more bits than a rung may have: what a cap leaves for a picture must not depend on who was quicker.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_cap_is_reached_the_bytes_are_the_same_too() {
    let noise = "-f lavfi -i testsrc2=s=1280x720:r=25:d=4,noise=alls=60:allf=t -c:v libx264 -preset ultrafast -crf 20";
    let clip = Clip::new("noise.mp4", noise);
    for (codec, short) in [(Codec::H264, 720), (Codec::Hevc, 360), (Codec::Av1, 360), (Codec::Vp9, 360)] {
        let options = Options { codec, ..options(&[short]) };
        let one = Job::of(&clip.file, &options).await;
        one.encode(0).await.expect("done");
        let segments = &one.track(&format!("{short}p")).segments;
        let rate = segments.iter().map(|segment| segment.bytes).sum::<u64>() * 8 / 4;
        let cap = u64::from(one.plan.video.as_ref().expect("video").rungs[0].encoding.max_rate);
        assert!(rate * 10 > cap * 6, "{codec:?}: {rate} of {cap} bits a second: no cap is reached");
        // Side by side both are slower, each at other moments.
        let (two, three) = (Job::of(&clip.file, &options).await, Job::of(&clip.file, &options).await);
        let (second, third) = tokio::join!(two.encode(0), three.encode(0));
        second.and(third).expect("done");
        for other in [two, three] {
            assert_same(&one.board.contents(), &other.board.contents());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_twice_changes_nothing() {
    let clip = source();
    let job = Job::of(&clip.file, &two_rungs()).await;
    for work_unit in 0..job.plan.work_units.len() {
        job.encode(work_unit).await.expect("done");
    }
    let before = job.board.recorded();
    for work_unit in [0, job.plan.work_units.len() - 1] {
        let prefix = format!("{work_unit}.again");
        job.attempt(work_unit, &prefix, &HashMap::new()).await.expect("done again");
        let again = job.board.put_in(&prefix);
        assert!(again.len() > 4, "{again:?}");
        for recorded in before.iter().filter(|recorded| again.contains(&recorded.output.name)) {
            let second =
                std::fs::read(job.path(&format!("{prefix}/{}", recorded.output.name))).expect("object");
            assert!(second == job.board.bytes(recorded), "{} differs", recorded.output.name);
        }
    }
    let uris = |recorded: &[crate::board::Recorded]| recorded.iter().map(|one| one.uri()).collect::<Vec<_>>();
    assert_eq!(uris(&job.board.recorded()), uris(&before), "what counts stays what it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_leave_no_trace() {
    let clip = source();
    let one = alone(&clip).await;
    let job = Job::of(&clip.file, &two_rungs()).await;
    for work_unit in 0..job.plan.work_units.len() {
        let rungs = job.plan.work_units[work_unit].rungs.len().max(1);
        // In the middle of the first segment of each rung, or after it.
        job.encode_with_a_death(work_unit, work_unit % 2 * rungs + 1).await;
    }
    job.package().await.expect("packaged");
    assert_same(&one.board.contents(), &job.board.contents());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_puts_the_rest_and_no_more() {
    let clip = source();
    let job = Job::of(&clip.file, &two_rungs()).await;
    let work_unit = job.plan.work_units.len() - 1;
    let recorded = HashMap::from([("144p".to_owned(), 3), ("96p".to_owned(), 1)]);
    job.attempt(work_unit, "all", &HashMap::new()).await.expect("done");
    let all = job.board.put_in("all");
    job.attempt(work_unit, "rest", &recorded).await.expect("done");
    let mut rest = job.board.put_in("rest");
    // Eleven segments in all, the last chunk from the eighth on.
    let expected = |name: &String| {
        let recorded = ["144p/seg_00008", "144p/seg_00009", "144p/seg_00010", "96p/seg_00008"];
        !name.ends_with("init.mp4") && !recorded.iter().any(|recorded| name.starts_with(recorded))
    };
    let mut due: Vec<_> = all.iter().filter(|name| expected(name)).cloned().collect();
    assert_eq!(all.len() - due.len(), 6, "{all:?}");
    due.sort();
    rest.sort();
    assert_eq!(rest, due);
    for name in rest {
        let read = |prefix: &str| std::fs::read(job.path(&format!("{prefix}/{name}"))).expect("object");
        assert!(read("all") == read("rest"), "{name} differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_gives_the_same_bytes_after_a_death() {
    let clip = numbered("tiny.mp4", "12", 144, &format!("{H264} -g 24 -c:a aac"));
    for codec in [Codec::H264, Codec::Hevc, Codec::Av1, Codec::Vp9] {
        let options = Options { codec, ..options(&[96]) };
        let one = Job::of(&clip.file, &options).await;
        one.encode(0).await.expect("done");
        let job = Job::of(&clip.file, &options).await;
        job.encode_with_a_death(0, 1).await;
        assert_same(&one.board.contents(), &job.board.contents());
    }
}
