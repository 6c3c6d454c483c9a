// One video in the list. Its elements are created once and updated in place, so that focus and selection persist.
import { isPlayable } from "./availability";
import { createElement, setText } from "./dom";
import { clock, percent, secondsOf, size, timeLeft } from "./format";
import { Rendition_Kind, Rendition_State, type Rendition } from "./gen/reelmill/transcode/v1/rendition_pb";
import { Video_State, type Video } from "./gen/reelmill/upload/v1/video_pb";
import type { LocalUpload } from "./uploads";

export interface CardActions {
  play(video: Video): void;
  remove(video: Video): void;
  resume(video: Video): void;
  retry(video: Video): void;
}

const LABELS: Record<Video_State, string> = {
  [Video_State.STATE_UNSPECIFIED]: "Unknown",
  [Video_State.UPLOADING]: "Uploading",
  [Video_State.PROCESSING]: "Processing",
  [Video_State.READY]: "Ready",
  [Video_State.FAILED]: "Failed",
};

/** Texts for a rendition's state. Other states show the percentage. */
const RENDITION_LABELS: Partial<Record<Rendition_State, string>> = {
  [Rendition_State.PENDING]: "waiting",
  [Rendition_State.READY]: "done",
  [Rendition_State.FAILED]: "failed",
};

interface RenditionRow {
  row: HTMLElement;
  bar: HTMLProgressElement;
  chip: HTMLElement;
}

export class Card {
  readonly element: HTMLLIElement;
  video: Video;

  #poster = createElement("img", { alt: "", loading: "lazy" });
  #title = createElement("h3");
  #badge = createElement("span", { class: "badge" });
  #facts = createElement("p", { class: "muted facts" });
  #bar = createElement("progress", { max: "100", value: "0" });
  #status = createElement("p", { class: "status" });
  #failure = createElement("p", { class: "failure", "data-testid": "failure" });
  #warnings = createElement("ul", { class: "warnings", "data-testid": "warnings" });
  #renditions = createElement("ul", { class: "renditions" });
  #rows = new Map<string, RenditionRow>();
  #playButton = createElement("button", { type: "button", "data-testid": "play" }, "Play");
  #resumeButton = createElement("button", { type: "button", class: "second" }, "Retry");
  #retryButton = createElement("button", { type: "button", class: "second", "data-testid": "retry" }, "Transcode again");
  #deleteButton = createElement("button", { type: "button", class: "quiet", "data-testid": "delete" }, "Delete");

  constructor(video: Video, actions: CardActions) {
    this.video = video;
    this.#playButton.addEventListener("click", () => actions.play(this.video));
    this.#resumeButton.addEventListener("click", () => actions.resume(this.video));
    this.#retryButton.addEventListener("click", () => actions.retry(this.video));
    this.#deleteButton.addEventListener("click", () => actions.remove(this.video));
    // The URL has expired: the next update of the video sets a new one.
    this.#poster.addEventListener("error", () => this.#poster.removeAttribute("src"));
    this.element = createElement(
      "li",
      { class: "card video", "data-testid": "video" },
      createElement("div", { class: "thumb" }, this.#poster),
      createElement(
        "div",
        { class: "body" },
        createElement("div", { class: "title" }, this.#title, this.#badge),
        this.#facts,
        this.#bar,
        this.#status,
        this.#failure,
        this.#warnings,
        this.#renditions,
        createElement(
          "div",
          { class: "buttons" },
          this.#playButton,
          this.#resumeButton,
          this.#retryButton,
          this.#deleteButton,
        ),
      ),
    );
  }

  update(video: Video, upload: LocalUpload | undefined): void {
    this.video = video;
    const title = video.displayName || "Untitled";
    const state = Video_State[video.state] ?? "STATE_UNSPECIFIED";
    this.element.dataset["name"] = video.name;
    this.element.dataset["state"] = state;
    this.element.dataset["playable"] = String(isPlayable(video));
    setText(this.#title, title);
    this.#title.title = title;
    setText(this.#badge, LABELS[video.state] ?? state);
    setText(this.#facts, facts(video));
    for (const [button, verb] of this.#buttons()) button.setAttribute("aria-label", `${verb} ${title}`);
    this.#playButton.hidden = !isPlayable(video);
    this.#resumeButton.hidden = !upload?.error;
    this.#retryButton.hidden = video.state !== Video_State.FAILED || video.job === "";
    if (video.posterUri && !this.#poster.hasAttribute("src")) this.#poster.src = video.posterUri;
    setText(this.#failure, failureText(video, upload));
    this.#failure.hidden = this.#failure.textContent === "";
    this.#showWarnings(video);
    this.#showProgress(video, upload, title);
    this.#showRenditions(video.state === Video_State.PROCESSING ? video.renditions : []);
  }

  #buttons(): [HTMLButtonElement, string][] {
    return [
      [this.#playButton, "Play"],
      [this.#resumeButton, "Retry the upload of"],
      [this.#retryButton, "Transcode again:"],
      [this.#deleteButton, "Delete"],
    ];
  }

  #showWarnings(video: Video): void {
    const texts = video.warnings.map(({ message, reason }) => message || reason);
    const shown = [...this.#warnings.children].map((item) => item.textContent);
    this.#warnings.hidden = texts.length === 0;
    if (texts.join("\n") !== shown.join("\n")) {
      this.#warnings.replaceChildren(...texts.map((text) => createElement("li", {}, text)));
    }
  }

  #showProgress(video: Video, upload: LocalUpload | undefined, title: string): void {
    const uploading = video.state === Video_State.UPLOADING;
    const shown = (uploading && upload !== undefined) || video.state === Video_State.PROCESSING;
    this.#bar.hidden = !shown;
    this.#bar.setAttribute("aria-label", `${uploading ? "Upload" : "Processing"} of ${title}`);
    const done = uploading ? uploadPercent(upload) : video.progress?.percent;
    if (done === undefined) this.#bar.removeAttribute("value");
    else this.#bar.value = done;
    setText(this.#status, uploading ? uploadText(upload) : processingText(video));
    this.#status.hidden = this.#status.textContent === "";
  }

  #showRenditions(renditions: Rendition[]): void {
    const shown = new Set(renditions.map((rendition) => rendition.renditionId));
    for (const [id, { row }] of this.#rows) {
      if (shown.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const rendition of renditions) {
      const { row, bar, chip } = this.#rows.get(rendition.renditionId) ?? this.#addRow(rendition);
      const done = renditionPercent(rendition) ?? bar.value;
      bar.value = done;
      setText(chip, RENDITION_LABELS[rendition.state] ?? percent(done));
      row.dataset["state"] = Rendition_State[rendition.state] ?? "STATE_UNSPECIFIED";
      row.dataset["segments"] = String(rendition.progress?.segmentsReady ?? 0n);
    }
    this.#renditions.hidden = renditions.length === 0;
  }

  #addRow(rendition: Rendition): RenditionRow {
    const title = renditionTitle(rendition);
    const bar = createElement("progress", { max: "100", value: "0", "aria-label": title });
    const chip = createElement("span", { class: "chip" });
    const row = createElement("li", { "data-rendition": rendition.renditionId }, createElement("span", {}, title), bar, chip);
    const created = { row, bar, chip };
    this.#rows.set(rendition.renditionId, created);
    this.#renditions.append(row);
    return created;
  }
}

function facts(video: Video): string {
  const seconds = secondsOf(video.duration);
  const { width, height, videoCodec } = video.source ?? { width: 0, height: 0, videoCodec: "" };
  const parts = [
    seconds === undefined ? "" : clock(seconds),
    width > 0 ? `${width} × ${height}` : "",
    videoCodec,
    video.sizeBytes > 0n ? size(Number(video.sizeBytes)) : "",
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

function failureText(video: Video, upload: LocalUpload | undefined): string {
  if (upload?.error) return upload.error;
  if (video.state !== Video_State.FAILED) return "";
  const { message, reason } = video.failure ?? { message: "", reason: "" };
  if (!message) return reason || "Processing failed for an unknown reason.";
  return reason ? `${message} (${reason})` : message;
}

function uploadPercent(upload: LocalUpload | undefined): number | undefined {
  return upload && upload.totalBytes > 0 ? (100 * upload.sentBytes) / upload.totalBytes : undefined;
}

function uploadText(upload: LocalUpload | undefined): string {
  if (!upload) return "Uploading in another window or program, or interrupted.";
  if (upload.error) return "";
  const { sentBytes, totalBytes, bytesPerSecond } = upload;
  const parts = [`${size(sentBytes)} of ${size(totalBytes)}`];
  if (bytesPerSecond > 0) {
    parts.push(`${size(bytesPerSecond)}/s`, timeLeft((totalBytes - sentBytes) / bytesPerSecond));
  }
  return parts.join(" · ");
}

function processingText(video: Video): string {
  if (video.state !== Video_State.PROCESSING) return "";
  const { progress, waiting } = video;
  if (waiting) return `Waiting: ${waiting.message}`;
  if (!progress && !video.playable) return "Waiting for a worker.";
  const eta = secondsOf(progress?.eta);
  const parts = [
    video.playable ? playableText(video.timeToPlayableSeconds) : "",
    progress ? percent(progress.percent) : "",
    progress && progress.speed > 0 ? `${progress.speed.toFixed(1)}× real time` : "",
    eta === undefined ? "" : timeLeft(eta),
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

function playableText(seconds: number): string {
  return seconds > 0 ? `Playable after ${seconds.toFixed(1)} s` : "Playable";
}

/** Title of a rendition: a rung by its id, audio and subtitles by their language. */
function renditionTitle({ renditionId, kind, language }: Rendition): string {
  if (kind === Rendition_Kind.AUDIO) return `Audio ${language}`.trim();
  if (kind === Rendition_Kind.SUBTITLES) return `Subtitles ${language}`.trim();
  return renditionId;
}

/** Undefined while no progress has been published. */
function renditionPercent(rendition: Rendition): number | undefined {
  return rendition.state === Rendition_State.READY ? 100 : rendition.progress?.percent;
}
