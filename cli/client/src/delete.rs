//! The command `delete`.

use reelmill_proto::upload::{
    DeleteVideoRequest, DeleteVideoResponse, video_service_client::VideoServiceClient,
};

use crate::{
    console::Console, error::ClientError, prompt, reason::ClientReason, server::Server, text, video,
};

/// `delete`: deletes a video, after a confirmation if there is a terminal to ask on.
pub async fn run(server: &Server, console: Console, name: &str, yes: bool) -> Result<(), ClientError> {
    if !yes && !console.is_json() && console.is_interactive() {
        let video = video::get(server, name).await?;
        let title = text::sanitize(&video.display_name);
        if !prompt::confirm(&format!("Delete {name}, \"{title}\"? [y/N] "))? {
            return Err(ClientError::local(ClientReason::NotConfirmed, "nothing was deleted"));
        }
    }
    let request = DeleteVideoRequest { name: name.to_owned() };
    server.call(async |channel| VideoServiceClient::new(channel).delete_video(request.clone()).await).await?;
    console.result(
        "reelmill.upload.v1.DeleteVideoResponse",
        &DeleteVideoResponse {},
        &format!("deleted {name}"),
    )
}
