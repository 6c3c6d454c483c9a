// The user's session. The access token is kept in memory only, the refresh token in an HttpOnly cookie.
import type { Client, Interceptor } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type {
  AuthService,
  CreateSessionResponse,
  RefreshSessionResponse,
  User,
} from "./gen/reelmill/auth/v1/auth_pb";
import { RefreshTokenDelivery } from "./gen/reelmill/auth/v1/auth_pb";
import { sleep } from "./backoff";
import { errorReason, isTransient } from "./errors";

/** Outcome of a token refresh. */
export type RefreshOutcome = "live" | "ended" | "unreachable";

/** Fraction of the access token's lifetime after which it is refreshed. */
const REFRESH_AT_LIFETIME_FRACTION = 0.75;
/** Delay before the next refresh when the server could not be reached. */
const REFRESH_RETRY_MILLIS = 10_000;
/** Lets the response to the other tab set the new cookie first. */
const SPENT_TOKEN_RETRY_MILLIS = 1000;
/** Name of the lock that all tabs of this origin share. */
const REFRESH_LOCK = "reelmill-refresh";
/** Name under which all tabs, and a page that is reloaded, find the idempotency key of the next refresh. */
const REFRESH_REQUEST_ID = "reelmill-refresh-request";
const REQUEST_ID_BYTES = 16;

export class Session {
  user: User | undefined;
  /** Called when a live session has ended, whatever the cause. */
  onEnd: () => void = () => {};

  #auth: Client<typeof AuthService>;
  #token = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pendingRefresh: Promise<RefreshOutcome> | undefined;

  /** `auth` must not use `interceptor`: a refresh would call itself. */
  constructor(auth: Client<typeof AuthService>) {
    this.#auth = auth;
  }

  async signUp(email: string, password: string): Promise<void> {
    await this.#auth.createUser({ email, password });
    await this.signIn(email, password);
  }

  async signIn(email: string, password: string): Promise<void> {
    const refreshTokenDelivery = RefreshTokenDelivery.COOKIE;
    this.#setTokens(await this.#auth.createSession({ email, password, refreshTokenDelivery }));
  }

  async signOut(): Promise<void> {
    const headers = this.#headers();
    try {
      await this.#auth.deleteSession({ name: "sessions/current" }, { headers });
    } finally {
      this.#end();
    }
  }

  /** Exchanges the refresh token for new tokens. Concurrent calls share one exchange. */
  refresh(): Promise<RefreshOutcome> {
    this.#pendingRefresh ??= this.#refreshLocked().finally(() => {
      this.#pendingRefresh = undefined;
    });
    return this.#pendingRefresh;
  }

  /** Adds the access token to calls. When a unary call is rejected as unauthenticated, refreshes it and retries once. */
  readonly interceptor: Interceptor = (next) => async (request) => {
    const sent = this.#token;
    if (sent) request.header.set("authorization", `Bearer ${sent}`);
    try {
      return await next(request);
    } catch (error) {
      if (request.stream || ConnectError.from(error).code !== Code.Unauthenticated) throw error;
      // No refresh if another call has already replaced the token.
      if (sent === this.#token && (await this.refresh()) !== "live") throw error;
      request.header.set("authorization", `Bearer ${this.#token}`);
      return await next(request);
    }
  };

  /** Tabs share the cookie: the lock keeps two of them from using the same refresh token. */
  async #refreshLocked(): Promise<RefreshOutcome> {
    // Browsers offer locks in secure contexts only; without them the retry in #exchange applies.
    if (!navigator.locks) return this.#exchange();
    return await navigator.locks.request(REFRESH_LOCK, () => this.#exchange());
  }

  async #exchange(): Promise<RefreshOutcome> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#setTokens(await this.#auth.refreshSession({ requestId: refreshRequestId() }));
        return "live";
      } catch (error) {
        // Another tab has just used the token; the response to it sets the new cookie.
        if (attempt === 1 && errorReason(error) === "REFRESH_TOKEN_SPENT") {
          await sleep(SPENT_TOKEN_RETRY_MILLIS);
          continue;
        }
        if (isTransient(error)) {
          if (this.#token) this.#refreshIn(REFRESH_RETRY_MILLIS);
          return "unreachable";
        }
        this.#end();
        return "ended";
      }
    }
  }

  #setTokens(response: CreateSessionResponse | RefreshSessionResponse): void {
    forgetRefreshRequestId();
    this.#token = response.accessToken;
    this.user = response.user;
    this.#refreshIn(lifetimeMillis(response) * REFRESH_AT_LIFETIME_FRACTION);
  }

  #refreshIn(millis: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), millis);
  }

  #end(): void {
    clearTimeout(this.#timer);
    forgetRefreshRequestId();
    const wasLive = this.#token !== "";
    this.#token = "";
    this.user = undefined;
    if (wasLive) this.onEnd();
  }

  #headers(): HeadersInit {
    return { authorization: `Bearer ${this.#token}` };
  }
}

/** Kept until a response arrives: a refresh whose response was lost is repeated with the same key, and returns the same token. */
function refreshRequestId(): string {
  const saved = globalThis.localStorage?.getItem(REFRESH_REQUEST_ID);
  if (saved) return saved;
  const bytes = crypto.getRandomValues(new Uint8Array(REQUEST_ID_BYTES));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  globalThis.localStorage?.setItem(REFRESH_REQUEST_ID, id);
  return id;
}

function forgetRefreshRequestId(): void {
  globalThis.localStorage?.removeItem(REFRESH_REQUEST_ID);
}

/** Lifetime of the access token, by the server's clock only: the browser's can be wrong by hours. */
function lifetimeMillis(response: CreateSessionResponse | RefreshSessionResponse): number {
  const start = response.session?.refreshTime ?? response.session?.createTime;
  const end = response.accessTokenExpireTime;
  const lifetime = start && end ? timestampMs(end) - timestampMs(start) : 0;
  return Math.min(15 * 60_000, Math.max(30_000, lifetime));
}
