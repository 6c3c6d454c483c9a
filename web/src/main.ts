// Entry point of the page: signs in, then shows the library and keeps it current.
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AuthService } from "./gen/reelmill/auth/v1/auth_pb";
import { TranscodeService } from "./gen/reelmill/transcode/v1/transcode_pb";
import { UploadService } from "./gen/reelmill/upload/v1/upload_pb";
import { VideoService, Video_State, type Video } from "./gen/reelmill/upload/v1/video_pb";
import { byId, setText } from "./dom";
import { errorMessage, SERVER_UNREACHABLE } from "./errors";
import { type ConnectionState, Library } from "./library";
import { LibraryView } from "./library-view";
import { PlayerPanel } from "./player-panel";
import { putPart } from "./put-part";
import { Semaphore } from "./semaphore";
import { Session } from "./session";
import { Uploads } from "./uploads";

const options = {
  baseUrl: window.location.origin,
  // Sends the refresh token's cookie.
  fetch: ((input, init) => fetch(input, { ...init, credentials: "include" })) satisfies typeof fetch,
};
const session = new Session(createClient(AuthService, createGrpcWebTransport(options)));
const transport = createGrpcWebTransport({ ...options, interceptors: [session.interceptor] });
const videoService = createClient(VideoService, transport);
const uploadService = createClient(UploadService, transport);
const transcodeService = createClient(TranscodeService, transport);

const CONNECTION_LABELS: Record<ConnectionState, string> = {
  connecting: "Connecting…",
  live: "Live",
  lost: "Connection lost. Reconnecting…",
};

const playerPanel = new PlayerPanel(showError, (name) => async () => (await videoService.createPlayback({ name })).playbackUri);
// Browsers open six HTTP/1.1 connections per host: four for parts, one for the watch stream, one for calls.
const partSlots = new Semaphore(4);
const uploads = new Uploads(
  { service: uploadService, putPart, partSlots },
  {
    changed: (name) => view.refresh(name),
    completed: (video) => library.put(video),
    failed: (file, message) => showError(`${file.name}: ${message}`),
  },
);
const view = new LibraryView((name) => uploads.get(name), {
  play,
  remove: (video) => void remove(video),
  resume: (video) => uploads.resume(video.name),
  retry: (video) => void retry(video),
});
let library = newLibrary();
let watching: AbortController | undefined;

function newLibrary(): Library {
  return new Library(videoService, {
    changed: (video) => {
      view.show(video);
      if (video.name === playerPanel.name) updatePlayer(video);
    },
    deleted: (name) => {
      uploads.cancel(name);
      view.remove(name);
      if (name === playerPanel.name) playerPanel.close();
    },
    connection: (state) => {
      const element = byId("connection");
      element.dataset["state"] = state;
      setText(element, CONNECTION_LABELS[state]);
      if (state === "live") view.markLoaded();
    },
  });
}

function showError(message: string): void {
  setText(byId("alert-text"), message);
  byId("alert").hidden = message === "";
}

function showSignedIn(): void {
  showError("");
  byId("loading").hidden = true;
  byId("sign-in-card").hidden = true;
  byId("home").hidden = false;
  byId("account").hidden = false;
  setText(byId("user"), session.user?.displayName || session.user?.email || "");
  library = newLibrary();
  view.clear();
  watching?.abort();
  watching = new AbortController();
  void library.watch(watching.signal, async () => (await session.refresh()) !== "ended");
}

function showSignedOut(): void {
  watching?.abort();
  uploads.cancelAll();
  playerPanel.close();
  view.clear();
  byId("loading").hidden = true;
  byId("home").hidden = true;
  byId("account").hidden = true;
  byId("sign-in-card").hidden = false;
  byId<HTMLInputElement>("password").value = "";
  byId<HTMLInputElement>("email").focus();
}

function play(video: Video): void {
  showError("");
  playerPanel.play(video);
}

/** Applies a change of the video in the player panel. */
function updatePlayer(video: Video): void {
  if (video.state !== Video_State.FAILED) return playerPanel.update(video);
  playerPanel.close();
  showError(`Playback of “${video.displayName || "Untitled"}” stopped: processing failed. Its entry in the list says why.`);
}

async function remove(video: Video): Promise<void> {
  if (!(await confirmed(`Delete “${video.displayName || "Untitled"}” permanently?`))) return;
  try {
    uploads.cancel(video.name);
    await videoService.deleteVideo({ name: video.name });
    library.remove(video.name);
  } catch (error) {
    showError(errorMessage(error));
  }
}

/** Transcodes a failed video again; the watch shows what follows. */
async function retry(video: Video): Promise<void> {
  try {
    showError("");
    await transcodeService.retryJob({ name: video.job });
  } catch (error) {
    showError(errorMessage(error));
  }
}

function confirmed(question: string): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>("confirm");
  setText(byId("confirm-text"), question);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function authenticate(method: "signIn" | "signUp"): Promise<void> {
  const form = byId<HTMLFormElement>("sign-form");
  if (!form.reportValidity()) return;
  const buttons = form.querySelectorAll("button");
  showError("");
  for (const button of buttons) button.disabled = true;
  try {
    const { value: email } = byId<HTMLInputElement>("email");
    const { value: password } = byId<HTMLInputElement>("password");
    await session[method](email.trim(), password);
    showSignedIn();
  } catch (error) {
    showError(errorMessage(error));
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function startUploads(files: Iterable<File>): void {
  showError("");
  for (const file of files) uploads.start(file);
}

function addListeners(): void {
  session.onEnd = showSignedOut;
  byId("sign-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void authenticate("signIn");
  });
  byId("sign-up").addEventListener("click", () => void authenticate("signUp"));
  byId("sign-out").addEventListener("click", () => {
    session.signOut().catch((error: unknown) => showError(errorMessage(error)));
  });
  byId("alert-close").addEventListener("click", () => showError(""));
  byId("player-close").addEventListener("click", () => playerPanel.close());
  const file = byId<HTMLInputElement>("file");
  file.addEventListener("change", () => {
    startUploads([...(file.files ?? [])]);
    // Otherwise choosing the same file again fires no change event.
    file.value = "";
  });
  addDropListeners(byId("drop"));
  window.addEventListener("beforeunload", (event) => {
    if (uploads.busy) event.preventDefault();
  });
}

function addDropListeners(area: HTMLElement): void {
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    startUploads([...(event.dataTransfer?.files ?? [])]);
  });
}

async function start(): Promise<void> {
  addListeners();
  const state = await session.refresh();
  if (state === "live") return showSignedIn();
  showSignedOut();
  if (state === "unreachable") showError(SERVER_UNREACHABLE);
}

void start();
