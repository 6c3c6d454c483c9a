// Plays HLS: by hls.js where the browser has Media Source Extensions, by the browser itself elsewhere.
import Hls, { type ErrorData, Events, ErrorTypes, type HlsConfig } from "hls.js";
import type { Level, Standing } from "./growing";

/** What the player has seen, for tests and for the curious: `window.reelmill`. */
export interface PlayerCounters {
  engine: "" | "hls.js" | "native";
  fragments: number;
  levels: number;
  levelSwitches: number;
  /** How often the playlist was loaded again at the same place. */
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
  // CMAF needs no remuxing to speak of, and a worker from a blob would need a weaker CSP.
  enableWorker: false,
  // A playlist that grows is no live broadcast: with no number here hls.js never seeks towards its end.
  liveSyncDuration: NaN,
};
/** Taken for a segment's length until a playlist tells, seconds. */
const SEGMENT = 4;

/** Gives another address for the same video once the first has expired. */
export type FreshUri = () => Promise<string>;

/** How playback goes on from one source to the next. */
interface Place {
  position: number;
  paused: boolean;
}

export class Player {
  #video: HTMLVideoElement;
  #still: HTMLCanvasElement;
  #failed: (message: string) => void;
  #hls: Hls | undefined;
  #fresh: FreshUri = () => Promise.reject(new Error("nothing plays"));
  #mayRenew = true;
  #mayRecover = true;
  /** Where the source that is being loaded shall go on; none once it does. */
  #pending: Place | undefined;

  /** `still` lies over `video`, and shows the last picture while a source takes another's place. */
  constructor(video: HTMLVideoElement, still: HTMLCanvasElement, failed: (message: string) => void) {
    this.#video = video;
    this.#still = still;
    this.#failed = failed;
    video.addEventListener("error", () => {
      // Taking a source away is reported as an error too.
      if (video.error && video.currentSrc && counters.engine === "native") this.#giveUp(video.error.message);
    });
    for (const shown of ["playing", "seeked", "error"]) {
      video.addEventListener(shown, () => {
        this.#pending = undefined;
        this.#still.hidden = true;
      });
    }
  }

  play(uri: string, fresh: FreshUri): void {
    this.stop();
    this.#fresh = fresh;
    this.#mayRenew = true;
    this.#mayRecover = true;
    this.#load(uri, { position: 0, paused: false });
  }

  /** Loads the playlist again, or another of the same video, and goes on at the same place in the same way. */
  reload(uri: string): void {
    const { currentTime: position, paused } = this.#video;
    counters.reloads += 1;
    this.#keepPicture();
    // One that has not come so far knows nothing of the place yet.
    this.#load(uri, this.#pending ?? { position, paused });
  }

  stop(): void {
    this.#hls?.destroy();
    this.#hls = undefined;
    counters.engine = "";
    this.#pending = undefined;
    this.#still.hidden = true;
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  /** Where it stands. */
  get standing(): Standing {
    const details = this.#hls?.latestLevelDetails;
    const segment = details?.fragments.length ? details.totalduration / details.fragments.length : SEGMENT;
    // The browser's own engine does not tell: none is missing then.
    return { position: this.#video.currentTime, segment, levels: this.#hls?.levels.length ?? Infinity };
  }

  /** End of what is buffered around the position, seconds. */
  get buffered(): number {
    const { buffered, currentTime } = this.#video;
    for (let at = 0; at < buffered.length; at += 1) {
      if (buffered.start(at) <= currentTime + 0.5 && buffered.end(at) >= currentTime) return buffered.end(at);
    }
    return currentTime;
  }

  /** Keeps it from switching by itself to levels above the one that `choose` returns; -1 lets it have all. */
  cap(choose: (levels: Level[]) => number): void {
    if (this.#hls?.levels.length) this.#hls.autoLevelCapping = choose(this.#hls.levels);
  }

  #load(uri: string, place: Place): void {
    this.#pending = place;
    // A new source begins at the default speed.
    this.#video.defaultPlaybackRate = counters.engine ? this.#video.playbackRate : 1;
    if (Hls.isSupported()) this.#loadByHls(uri, place);
    else if (this.#video.canPlayType("application/vnd.apple.mpegurl")) this.#loadNatively(uri, place);
    else this.#giveUp("this browser plays neither HLS nor Media Source Extensions");
  }

  #loadNatively(uri: string, place: Place): void {
    counters.engine = "native";
    const video = this.#video;
    video.addEventListener("loadedmetadata", () => (video.currentTime = place.position), { once: true });
    video.src = uri;
    this.#begin(place);
  }

  #loadByHls(uri: string, place: Place): void {
    const before = this.#hls;
    const { position: startPosition } = place;
    // What was learnt of the network holds.
    const learnt = before?.bandwidthEstimate;
    const hls = new Hls({ ...CONFIG, startPosition, ...(learnt ? { abrEwmaDefaultEstimate: learnt } : {}) });
    before?.destroy();
    this.#hls = hls;
    counters.engine = "hls.js";
    hls.on(Events.MANIFEST_PARSED, (_event, data) => {
      counters.levels = data.levels.length;
      this.#begin(place);
    });
    hls.on(Events.FRAG_BUFFERED, () => {
      counters.fragments += 1;
      this.#mayRenew = true;
    });
    hls.on(Events.LEVEL_SWITCHED, () => (counters.levelSwitches += 1));
    hls.on(Events.ERROR, (_event, data) => this.#onError(hls, data));
    hls.attachMedia(this.#video);
    hls.loadSource(uri);
  }

  #onError(hls: Hls, data: ErrorData): void {
    count(data);
    if (!data.fatal) return;
    if (data.type === ErrorTypes.NETWORK_ERROR && this.#mayRenew) {
      this.#mayRenew = false;
      void this.#renew(hls);
    } else if (data.type === ErrorTypes.MEDIA_ERROR && this.#mayRecover) {
      this.#mayRecover = false;
      hls.recoverMediaError();
    } else {
      hls.destroy();
      this.#giveUp(counters.lastError);
    }
  }

  /** The address may have expired while the page stood open: goes on from the same place with a new one. */
  async #renew(hls: Hls): Promise<void> {
    try {
      const uri = await this.#fresh();
      if (this.#hls === hls) this.reload(uri);
    } catch {
      if (this.#hls === hls) this.#giveUp(counters.lastError);
    }
  }

  #begin(place: Place): void {
    if (place.paused) return;
    // Refused when the click is too long ago; the controls are there then.
    this.#video.play().catch(() => {});
  }

  /** Shows the present picture until the next source has one. */
  #keepPicture(): void {
    const { videoWidth, videoHeight, readyState } = this.#video;
    const context = this.#still.getContext("2d");
    if (!context || videoWidth === 0 || readyState < 2) return;
    this.#still.width = videoWidth;
    this.#still.height = videoHeight;
    context.drawImage(this.#video, 0, 0);
    this.#still.hidden = false;
  }

  #giveUp(why: string): void {
    this.#still.hidden = true;
    this.#failed(`The video can't be played: ${why}.`);
  }
}

function count(data: ErrorData): void {
  counters.errors += 1;
  counters.lastError = `${data.details}${data.response?.code ? ` (HTTP ${data.response.code})` : ""}`;
  if (data.fatal) counters.fatalErrors += 1;
}
