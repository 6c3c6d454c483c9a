// Plays HLS: by hls.js where the browser has Media Source Extensions, by the browser itself elsewhere.
import Hls, { type ErrorData, Events, ErrorTypes, type HlsConfig } from "hls.js";

/** What the player has seen, for tests and for the curious: `window.reelmill`. */
export interface PlayerCounters {
  engine: "" | "hls.js" | "native";
  fragments: number;
  levels: number;
  levelSwitches: number;
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
  errors: 0,
  fatalErrors: 0,
  lastError: "",
};
window.reelmill = counters;

const CONFIG: Partial<HlsConfig> = {
  // CMAF needs no remuxing to speak of, and a worker from a blob would need a weaker CSP.
  enableWorker: false,
};

/** Gives another address for the same video once the first has expired. */
export type FreshUri = () => Promise<string>;

export class Player {
  #video: HTMLVideoElement;
  #failed: (message: string) => void;
  #hls: Hls | undefined;

  constructor(video: HTMLVideoElement, failed: (message: string) => void) {
    this.#video = video;
    this.#failed = failed;
    video.addEventListener("error", () => {
      // Taking a source away is reported as an error too.
      if (video.error && video.currentSrc && counters.engine === "native") this.#giveUp(video.error.message);
    });
  }

  play(uri: string, fresh: FreshUri): void {
    this.stop();
    if (Hls.isSupported()) this.#playByHls(uri, fresh);
    else if (this.#video.canPlayType("application/vnd.apple.mpegurl")) this.#playNatively(uri);
    else this.#giveUp("this browser plays neither HLS nor Media Source Extensions");
  }

  stop(): void {
    this.#hls?.destroy();
    this.#hls = undefined;
    counters.engine = "";
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  #playNatively(uri: string): void {
    counters.engine = "native";
    this.#video.src = uri;
    this.#begin();
  }

  #playByHls(uri: string, fresh: FreshUri): void {
    counters.engine = "hls.js";
    const hls = new Hls(CONFIG);
    this.#hls = hls;
    let mayRenew = true;
    let mayRecover = true;
    hls.on(Events.MANIFEST_PARSED, (_event, data) => {
      counters.levels = data.levels.length;
      this.#begin();
    });
    hls.on(Events.FRAG_BUFFERED, () => (counters.fragments += 1));
    hls.on(Events.LEVEL_SWITCHED, () => (counters.levelSwitches += 1));
    hls.on(Events.ERROR, (_event, data) => {
      count(data);
      if (!data.fatal) return;
      if (data.type === ErrorTypes.NETWORK_ERROR && mayRenew) {
        mayRenew = false;
        void this.#renew(hls, fresh);
      } else if (data.type === ErrorTypes.MEDIA_ERROR && mayRecover) {
        mayRecover = false;
        hls.recoverMediaError();
      } else {
        hls.destroy();
        this.#giveUp(counters.lastError);
      }
    });
    hls.attachMedia(this.#video);
    hls.loadSource(uri);
  }

  /** The address may have expired while the page stood open: goes on from the same place with a new one. */
  async #renew(hls: Hls, fresh: FreshUri): Promise<void> {
    const position = this.#video.currentTime;
    try {
      const uri = await fresh();
      if (this.#hls !== hls) return;
      hls.once(Events.MANIFEST_PARSED, () => (this.#video.currentTime = position));
      hls.loadSource(uri);
    } catch {
      if (this.#hls === hls) this.#giveUp(counters.lastError);
    }
  }

  #begin(): void {
    // Refused when the click is too long ago; the controls are there then.
    this.#video.play().catch(() => {});
  }

  #giveUp(why: string): void {
    this.#failed(`The video can't be played: ${why}.`);
  }
}

function count(data: ErrorData): void {
  counters.errors += 1;
  counters.lastError = `${data.details}${data.response?.code ? ` (HTTP ${data.response.code})` : ""}`;
  if (data.fatal) counters.fatalErrors += 1;
}
