//! Output bytes depend on the plan only: not on the number of workers, the order of tasks, repetitions or crashes.

use crate::support::{Clip, H264, Job, Recorded, numbered_clip, options, transcoded};
use futures::{StreamExt, stream};
use reelmill_media::plan::{Codec, Options, Plan};
use rstest::rstest;
use std::collections::{BTreeMap, HashMap};
use tokio::sync::OnceCell;

fn source() -> Clip {
    let open = "-g 75 -x264-params open-gop=1:bframes=3:b-pyramid=normal";
    numbered_clip("source.mp4", "25", 1050, &format!("{H264} {open} -c:a aac"))
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

/// Plan and outputs of `source` by one worker, which encodes one task after the other; shared by the tests.
async fn one_worker() -> &'static (Plan, BTreeMap<String, Vec<u8>>) {
    static ENCODED: OnceCell<(Plan, BTreeMap<String, Vec<u8>>)> = OnceCell::const_new();
    ENCODED
        .get_or_init(|| async {
            let job = transcoded(&source().file, &two_rungs()).await;
            (job.plan.clone(), job.outputs.contents())
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_by_several_workers_in_reverse_order_yields_same_bytes() {
    let clip = source();
    let (plan, expected) = one_worker().await;
    assert!(expected.len() > 3 * 11, "{:?}", expected.keys());
    for workers in [2, 8] {
        let job = Job::planned(&clip.file, &two_rungs()).await;
        assert_eq!(job.plan, *plan, "the plan depends on the source only");
        // Each worker takes the next task, in reverse order.
        let tasks = (0..job.plan.work_units.len()).rev();
        let mut encoding =
            stream::iter(tasks).map(|work_unit| job.encode(work_unit)).buffer_unordered(workers);
        while let Some(done) = encoding.next().await {
            done.expect("done");
        }
        drop(encoding);
        job.package().await.expect("packaged");
        assert_same(expected, &job.outputs.contents());
    }
}

/// Noise needs more bits than the rung's maximum rate: how rate control distributes them must not depend on the timing of
/// threads.
#[rstest]
#[case::h264(Codec::H264, "1280x720", 720)]
#[case::hevc(Codec::Hevc, "640x360", 360)]
#[case::av1(Codec::Av1, "640x360", 360)]
#[case::vp9(Codec::Vp9, "640x360", 360)]
#[tokio::test(flavor = "multi_thread")]
async fn encode_at_maximum_rate_yields_same_bytes(
    #[case] codec: Codec,
    #[case] size: &str,
    #[case] rung: u32,
) {
    const SECONDS: u64 = 2;
    let noise = format!("-f lavfi -i testsrc2=s={size}:r=25:d={SECONDS},noise=alls=60:allf=t");
    let clip = Clip::new("noise.mp4", &format!("{noise} -c:v libx264 -preset ultrafast -crf 20"));
    let options = Options { codec, ..options(&[rung]) };
    let one = Job::planned(&clip.file, &options).await;
    one.encode(0).await.expect("encoded");
    let segments = &one.track(&format!("{rung}p")).segments;
    let rate = segments.iter().map(|segment| segment.bytes).sum::<u64>() * 8 / SECONDS;
    let max_rate = u64::from(one.plan.video.as_ref().expect("video").rungs[0].encoding.max_rate);
    assert!(rate * 10 > max_rate * 6, "{rate} of {max_rate} bit/s: rate control has no effect");
    // Two at the same time: threads are scheduled differently.
    let (two, three) = (Job::planned(&clip.file, &options).await, Job::planned(&clip.file, &options).await);
    let (second, third) = tokio::join!(two.encode(0), three.encode(0));
    second.and(third).expect("encoded");
    for other in [two, three] {
        assert_same(&one.outputs.contents(), &other.outputs.contents());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_task_twice_yields_same_bytes() {
    let clip = source();
    let job = Job::planned(&clip.file, &two_rungs()).await;
    let repeated = [0, job.plan.work_units.len() - 1];
    for work_unit in repeated {
        job.encode(work_unit).await.expect("done");
    }
    let before = job.outputs.recorded();
    for work_unit in repeated {
        let prefix = format!("{work_unit}.again");
        job.attempt(work_unit, &prefix, &HashMap::new()).await.expect("done again");
        let again = job.outputs.uploaded_in(&prefix);
        assert!(again.len() > 4, "{again:?}");
        for recorded in before.iter().filter(|recorded| again.contains(&recorded.output.name)) {
            let second =
                std::fs::read(job.path(&format!("{prefix}/{}", recorded.output.name))).expect("object");
            assert!(second == job.outputs.bytes(recorded), "{} differs", recorded.output.name);
        }
    }
    let uris = |recorded: &[Recorded]| recorded.iter().map(|one| one.uri()).collect::<Vec<_>>();
    assert_eq!(uris(&job.outputs.recorded()), uris(&before), "the first attempt's outputs stay recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_with_crashes_yields_same_bytes() {
    let clip = source();
    let (_, expected) = one_worker().await;
    let job = Job::planned(&clip.file, &two_rungs()).await;
    for work_unit in 0..job.plan.work_units.len() {
        let rungs = job.plan.work_units[work_unit].rungs.len().max(1);
        // Crashes during the first segment of each rung, or after it.
        job.encode_with_crash(work_unit, work_unit % 2 * rungs + 1).await;
    }
    job.package().await.expect("packaged");
    assert_same(expected, &job.outputs.contents());
}

#[tokio::test(flavor = "multi_thread")]
async fn second_attempt_uploads_missing_outputs_only() {
    let clip = source();
    let job = Job::planned(&clip.file, &two_rungs()).await;
    let work_unit = job.plan.work_units.len() - 1;
    let recorded = HashMap::from([("144p".to_owned(), 3), ("96p".to_owned(), 1)]);
    job.attempt(work_unit, "all", &HashMap::new()).await.expect("done");
    let all = job.outputs.uploaded_in("all");
    job.attempt(work_unit, "rest", &recorded).await.expect("done");
    let mut rest = job.outputs.uploaded_in("rest");
    // Of eleven segments the last chunk has those from the eighth on.
    let is_missing = |name: &String| {
        let recorded = ["144p/seg_00008", "144p/seg_00009", "144p/seg_00010", "96p/seg_00008"];
        !name.ends_with("init.mp4") && !recorded.iter().any(|recorded| name.starts_with(recorded))
    };
    let mut expected: Vec<_> = all.iter().filter(|name| is_missing(name)).cloned().collect();
    assert_eq!(all.len() - expected.len(), 6, "{all:?}");
    expected.sort();
    rest.sort();
    assert_eq!(rest, expected);
    for name in rest {
        let read = |prefix: &str| std::fs::read(job.path(&format!("{prefix}/{name}"))).expect("object");
        assert!(read("all") == read("rest"), "{name} differs");
    }
}

#[rstest]
#[case::h264(Codec::H264)]
#[case::hevc(Codec::Hevc)]
#[case::av1(Codec::Av1)]
#[case::vp9(Codec::Vp9)]
#[tokio::test(flavor = "multi_thread")]
async fn encode_each_codec_with_a_crash_yields_same_bytes(#[case] codec: Codec) {
    let clip = numbered_clip("tiny.mp4", "12", 144, &format!("{H264} -g 24 -c:a aac"));
    let options = Options { codec, ..options(&[96]) };
    let one = Job::planned(&clip.file, &options).await;
    one.encode(0).await.expect("done");
    let job = Job::planned(&clip.file, &options).await;
    job.encode_with_crash(0, 1).await;
    assert_same(&one.outputs.contents(), &job.outputs.contents());
}
