// The page: signs in, then shows the library and keeps it live.
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AuthService } from "./gen/reelmill/auth/v1/auth_pb";
import { UploadService } from "./gen/reelmill/upload/v1/upload_pb";
import { VideoService, Video_State, type Video } from "./gen/reelmill/upload/v1/video_pb";
import { byId, setText } from "./dom";
import { sentenceOf } from "./errors";
import { Library, type Link } from "./library";
import { LibraryView } from "./library-view";
import { putPart } from "./put";
import { Session } from "./session";
import { Slots } from "./slots";
import { Stage } from "./stage";
import { Uploads } from "./uploads";

const options = {
  baseUrl: window.location.origin,
  // The refresh token's cookie.
  fetch: ((input, init) => fetch(input, { ...init, credentials: "include" })) satisfies typeof fetch,
};
const session = new Session(createClient(AuthService, createGrpcWebTransport(options)));
const transport = createGrpcWebTransport({ ...options, interceptors: [session.interceptor] });
const videoService = createClient(VideoService, transport);
const uploadService = createClient(UploadService, transport);

const LINK_TEXT: Record<Link, string> = {
  connecting: "Connecting…",
  live: "Live",
  lost: "Connection lost, trying again…",
};

const stage = new Stage(showError, (name) => async () => (await videoService.createPlayback({ name })).playbackUri);
// HTTP/1.1 gives six connections a host: four for parts leave one for the watch and one for calls.
const slots = new Slots(4);
const uploads = new Uploads(
  { service: uploadService, put: putPart, slots },
  {
    changed: (name) => view.refresh(name),
    completed: (video) => library.put(video),
    refused: (file, message) => showError(`${file.name}: ${message}`),
  },
);
const view = new LibraryView((name) => uploads.get(name), {
  play,
  remove: (video) => void remove(video),
  resume: (video) => uploads.resume(video.name),
});
let library = newLibrary();
let following: AbortController | undefined;

function newLibrary(): Library {
  return new Library(videoService, {
    changed: (video) => {
      view.show(video);
      if (video.name === stage.name) follow(video);
    },
    deleted: (name) => {
      uploads.cancel(name);
      view.drop(name);
      if (name === stage.name) stage.close();
    },
    link: (state) => {
      const element = byId("live");
      element.dataset["link"] = state;
      setText(element, LINK_TEXT[state]);
      if (state === "live") view.caughtUp();
    },
  });
}

function showError(message: string): void {
  setText(byId("alert-text"), message);
  byId("alert").hidden = message === "";
}

function showSignedIn(): void {
  showError("");
  byId("opening").hidden = true;
  byId("sign").hidden = true;
  byId("home").hidden = false;
  byId("account").hidden = false;
  setText(byId("who"), session.user?.displayName || session.user?.email || "");
  library = newLibrary();
  view.clear();
  following?.abort();
  following = new AbortController();
  void library.follow(following.signal, async () => (await session.refresh()) !== "ended");
}

function showSignedOut(): void {
  following?.abort();
  uploads.cancelAll();
  stage.close();
  view.clear();
  byId("opening").hidden = true;
  byId("home").hidden = true;
  byId("account").hidden = true;
  byId("sign").hidden = false;
  byId<HTMLInputElement>("password").value = "";
  byId<HTMLInputElement>("email").focus();
}

function play(video: Video): void {
  showError("");
  stage.play(video);
}

/** The video on the stage has changed. */
function follow(video: Video): void {
  if (video.state !== Video_State.FAILED) return stage.update(video);
  stage.close();
  // Its card says why.
  showError(`“${video.displayName || "Untitled"}” can't be played any further: it has failed.`);
}

async function remove(video: Video): Promise<void> {
  if (!(await confirmed(`Delete “${video.displayName || "Untitled"}” for good?`))) return;
  try {
    uploads.cancel(video.name);
    await videoService.deleteVideo({ name: video.name });
    library.remove(video.name);
  } catch (error) {
    showError(sentenceOf(error));
  }
}

function confirmed(question: string): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>("ask");
  setText(byId("ask-text"), question);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function signBy(method: "signIn" | "signUp"): Promise<void> {
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
    showError(sentenceOf(error));
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function startUploads(files: Iterable<File>): void {
  showError("");
  for (const file of files) uploads.start(file);
}

function listen(): void {
  session.onEnd = showSignedOut;
  byId("sign-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void signBy("signIn");
  });
  byId("sign-up").addEventListener("click", () => void signBy("signUp"));
  byId("sign-out").addEventListener("click", () => {
    session.signOut().catch((error: unknown) => showError(sentenceOf(error)));
  });
  byId("alert-close").addEventListener("click", () => showError(""));
  byId("stage-close").addEventListener("click", () => stage.close());
  const file = byId<HTMLInputElement>("file");
  file.addEventListener("change", () => {
    startUploads([...(file.files ?? [])]);
    // The same file may be chosen again.
    file.value = "";
  });
  listenToDrops(byId("drop"));
  window.addEventListener("beforeunload", (event) => {
    if (uploads.busy) event.preventDefault();
  });
}

function listenToDrops(area: HTMLElement): void {
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

async function open(): Promise<void> {
  listen();
  const state = await session.refresh();
  if (state === "live") return showSignedIn();
  showSignedOut();
  if (state === "unreachable") showError("The server can't be reached just now. Try again in a moment.");
}

void open();
