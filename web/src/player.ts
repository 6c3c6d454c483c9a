// Plays HLS: with hls.js where the browser has Media Source Extensions, with the native player elsewhere.
import Hls, { type ErrorData, Events, ErrorTypes, type HlsConfig } from "hls.js";
import type { Level, PlayerState } from "./availability";

/** Playback counters for tests and debugging, published as `window.reelmill`. */
export interface PlayerCounters {
  engine: "" | "hls.js" | "native";
  fragments: number;
  levels: number;
  levelSwitches: number;
  /** Number of playlist reloads during playback. */
  reloads: number;
  errors: number;
  fatalErrors: number;
  lastError: string;
}

declare global {
  interface Window {
    reelmill: PlayerCounters;
  }
}

const counters: PlayerCounters = {
  engine: "",
  fragments: 0,
  levels: 0,
  levelSwitches: 0,
  reloads: 0,
  errors: 0,
  fatalErrors: 0,
  lastError: "",
};
window.reelmill = counters;

const CONFIG: Partial<HlsConfig> = {
  // CMAF needs almost no remuxing, and a worker from a blob URL would need a weaker CSP.
  enableWorker: false,
  // A growing playlist is not a live stream: NaN keeps hls.js from seeking to its end.
  liveSyncDuration: NaN,
};
/** Segment length assumed until a playlist is loaded. */
const DEFAULT_SEGMENT_SECONDS = 4;

/** Requests a new playback URL for the same video, because the signature of the old one has expired. */
export type RenewUri = () => Promise<string>;

/** Where and how playback continues after a source was replaced. */
interface ResumePoint {
  position: number;
  paused: boolean;
}

export class Player {
  #video: HTMLVideoElement;
  #freezeFrame: HTMLCanvasElement;
  #onError: (message: string) => void;
  #hls: Hls | undefined;
  #renewUri: RenewUri = () => Promise.reject(new Error("no video is open"));
  #canRenew = true;
  #canRecover = true;
  /** Resume point of the source that is being loaded; undefined once it plays. */
  #pending: ResumePoint | undefined;

  /** `freezeFrame` covers `video` and shows the last frame while one source replaces another. */
  constructor(video: HTMLVideoElement, freezeFrame: HTMLCanvasElement, onError: (message: string) => void) {
    this.#video = video;
    this.#freezeFrame = freezeFrame;
    this.#onError = onError;
    video.addEventListener("error", () => {
      // Removing the source fires an error event too, which is not a failure.
      if (video.error && video.currentSrc && counters.engine === "native") this.#fail(video.error.message);
    });
    for (const event of ["playing", "seeked", "error"]) {
      video.addEventListener(event, () => {
        this.#pending = undefined;
        this.#freezeFrame.hidden = true;
      });
    }
  }

  play(uri: string, renewUri: RenewUri): void {
    this.stop();
    this.#renewUri = renewUri;
    this.#canRenew = true;
    this.#canRecover = true;
    this.#load(uri, { position: 0, paused: false });
  }

  /** Loads the playlist again, or another one of the same video, and resumes at the same position. */
  reload(uri: string): void {
    const { currentTime: position, paused } = this.#video;
    counters.reloads += 1;
    this.#showFreezeFrame();
    // A source that has not started yet is not at its resume point yet.
    this.#load(uri, this.#pending ?? { position, paused });
  }

  stop(): void {
    this.#hls?.destroy();
    this.#hls = undefined;
    counters.engine = "";
    this.#pending = undefined;
    this.#freezeFrame.hidden = true;
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  get state(): PlayerState {
    const details = this.#hls?.latestLevelDetails;
    const segmentSeconds = details?.fragments.length
      ? details.totalduration / details.fragments.length
      : DEFAULT_SEGMENT_SECONDS;
    // The native player does not report its levels: assume that none is missing.
    return { position: this.#video.currentTime, segmentSeconds, levels: this.#hls?.levels.length ?? Infinity };
  }

  /** End of the buffered range around the playback position, seconds. */
  get buffered(): number {
    const { buffered, currentTime } = this.#video;
    for (let index = 0; index < buffered.length; index += 1) {
      const [start, end] = [buffered.start(index), buffered.end(index)];
      if (start <= currentTime + 0.5 && end >= currentTime) return end;
    }
    return currentTime;
  }

  /** Limits automatic switching to levels up to the index that `choose` returns; -1 removes the limit. */
  capLevel(choose: (levels: Level[]) => number): void {
    if (this.#hls?.levels.length) this.#hls.autoLevelCapping = choose(this.#hls.levels);
  }

  #load(uri: string, resume: ResumePoint): void {
    this.#pending = resume;
    // A new source starts at the default playback rate.
    this.#video.defaultPlaybackRate = counters.engine ? this.#video.playbackRate : 1;
    if (Hls.isSupported()) this.#loadByHls(uri, resume);
    else if (this.#video.canPlayType("application/vnd.apple.mpegurl")) this.#loadNatively(uri, resume);
    else this.#fail("this browser supports neither HLS nor Media Source Extensions");
  }

  #loadNatively(uri: string, resume: ResumePoint): void {
    counters.engine = "native";
    const video = this.#video;
    video.addEventListener("loadedmetadata", () => (video.currentTime = resume.position), { once: true });
    video.src = uri;
    this.#begin(resume);
  }

  #loadByHls(uri: string, resume: ResumePoint): void {
    const previous = this.#hls;
    const { position: startPosition } = resume;
    // The new instance starts from the bandwidth estimate of the previous one.
    const bandwidth = previous?.bandwidthEstimate;
    const hls = new Hls({ ...CONFIG, startPosition, ...(bandwidth ? { abrEwmaDefaultEstimate: bandwidth } : {}) });
    previous?.destroy();
    this.#hls = hls;
    counters.engine = "hls.js";
    hls.on(Events.MANIFEST_PARSED, (_event, data) => {
      counters.levels = data.levels.length;
      this.#begin(resume);
    });
    hls.on(Events.FRAG_BUFFERED, () => {
      counters.fragments += 1;
      this.#canRenew = true;
    });
    hls.on(Events.LEVEL_SWITCHED, () => (counters.levelSwitches += 1));
    hls.on(Events.ERROR, (_event, data) => this.#onHlsError(hls, data));
    hls.attachMedia(this.#video);
    hls.loadSource(uri);
  }

  #onHlsError(hls: Hls, data: ErrorData): void {
    count(data);
    if (!data.fatal) return;
    if (data.type === ErrorTypes.NETWORK_ERROR && this.#canRenew) {
      this.#canRenew = false;
      void this.#renew(hls);
    } else if (data.type === ErrorTypes.MEDIA_ERROR && this.#canRecover) {
      this.#canRecover = false;
      hls.recoverMediaError();
    } else {
      hls.destroy();
      this.#fail(counters.lastError);
    }
  }

  /** The playback URL may have expired while the page was open: resumes at the same position with a new one. */
  async #renew(hls: Hls): Promise<void> {
    try {
      const uri = await this.#renewUri();
      if (this.#hls === hls) this.reload(uri);
    } catch {
      if (this.#hls === hls) this.#fail(counters.lastError);
    }
  }

  #begin(resume: ResumePoint): void {
    if (resume.paused) return;
    // Rejected when the last user gesture is too long ago; the user can still press play in the controls.
    this.#video.play().catch(() => {});
  }

  /** Shows the current frame until the next source has one. */
  #showFreezeFrame(): void {
    const { videoWidth, videoHeight, readyState } = this.#video;
    const context = this.#freezeFrame.getContext("2d");
    if (!context || videoWidth === 0 || readyState < 2) return;
    this.#freezeFrame.width = videoWidth;
    this.#freezeFrame.height = videoHeight;
    context.drawImage(this.#video, 0, 0);
    this.#freezeFrame.hidden = false;
  }

  #fail(cause: string): void {
    this.#freezeFrame.hidden = true;
    this.#onError(`The video can't be played: ${cause}.`);
  }
}

function count(data: ErrorData): void {
  counters.errors += 1;
  counters.lastError = `${data.details}${data.response?.code ? ` (HTTP ${data.response.code})` : ""}`;
  if (data.fatal) counters.fatalErrors += 1;
}
