//! A recording of several programmes: which is encoded, and how the user chooses another one.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::support::{cli_user::CliUser, deployment::Deployment};

/// Two programmes, numbered 11 and 12, with pictures of 320x180 and 640x360.
async fn two_programs(file: &Path) {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=3"])
        .args(["-f", "lavfi", "-i", "sine=440:duration=3"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=3"])
        .args(["-f", "lavfi", "-i", "sine=880:duration=3"])
        .args(["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:v", "libx264", "-preset", "ultrafast"])
        .args(["-c:a", "aac", "-metadata:s:3", "language=fra"])
        .args(["-program", "program_num=11:title=One:st=0:st=1"])
        .args(["-program", "program_num=12:title=Two:st=2:st=3"])
        .arg(file)
        .stdin(Stdio::null())
        .status();
    assert!(made.await.unwrap().success());
}

/// Indices of the tracks that are encoded.
fn used_tracks(video: &Value) -> Vec<u64> {
    let tracks = video["source"]["tracks"].as_array().expect("tracks");
    let used = tracks.iter().filter(|track| track["used"] == true);
    used.map(|track| track["index"].as_u64().unwrap_or(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_of_several_programmes_encodes_the_chosen_one_and_lists_all() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = deployment.folder.path().join("two.ts");
    two_programs(&file).await;

    let video = ann.upload(&file).await;
    assert_eq!((&video["state"], used_tracks(&video)), (&Value::from("READY"), vec![0, 1]), "{video}");
    let programs = &video["source"]["programs"];
    assert_eq!(programs[0]["number"], 11, "{video}");
    assert_eq!((&programs[0]["title"], &programs[0]["used"]), (&Value::from("One"), &Value::from(true)));
    assert_eq!((&programs[1]["number"], &programs[1]["title"]), (&Value::from(12), &Value::from("Two")));
    let last = &video["source"]["tracks"][3];
    assert_eq!((&last["kind"], &last["language"]), (&Value::from("AUDIO"), &Value::from("fra")), "{video}");
    assert_eq!(last["programs"], Value::from(vec![12]), "{video}");
    assert_eq!(video["warnings"][0]["reason"], "TRACK_SKIPPED", "{video}");

    let file = file.display().to_string();
    let output = ann.run(&["upload", "--wait", "--json", "--program", "7", &file]).await.expect_exit(1);
    let failed = output.json();
    assert_eq!(failed["failure"]["reason"], "PROGRAM_NOT_FOUND", "{failed}");
    assert_eq!(failed["failure"]["message"], "The file has no programme 7. It has 11, 12.", "{failed}");
    let name = failed["name"].as_str().unwrap();
    let output = ann.run(&["retry", name, "--program", "12", "--wait", "--json"]).await.expect_exit(0);
    let video = output.json();
    assert_eq!((&video["state"], used_tracks(&video)), (&Value::from("READY"), vec![2, 3]), "{video}");
    assert_eq!(
        (&video["source"]["width"], &video["warnings"]),
        (&Value::from(640), &Value::Array(Vec::new())),
        "{video}"
    );
    assert_eq!(video["options"]["sourceProgram"], 12, "{video}");
    deployment.stop().await;
}
