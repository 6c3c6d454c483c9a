// Who is signed in. The access token lives in memory only; the refresh token in a cookie that no
// script can read.
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
import { isTransient, reasonOf } from "./errors";
import { sleep } from "./wait";

/** What came of an exchange of tokens. */
export type Refreshed = "live" | "ended" | "unreachable";

/** How much of a token's life passes before it is renewed. */
const RENEW_AFTER = 0.75;
const LOCK = "reelmill-refresh";

export class Session {
  user: User | undefined;
  /** Called when a session that was live has ended, by whatever cause. */
  onEnd: () => void = () => {};

  #auth: Client<typeof AuthService>;
  #token = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<Refreshed> | undefined;

  /** `auth` must not go through `interceptor`: refreshing would call itself. */
  constructor(auth: Client<typeof AuthService>) {
    this.#auth = auth;
  }

  async signUp(email: string, password: string): Promise<void> {
    await this.#auth.createUser({ email, password });
    await this.signIn(email, password);
  }

  async signIn(email: string, password: string): Promise<void> {
    const refreshTokenDelivery = RefreshTokenDelivery.COOKIE;
    this.#adopt(await this.#auth.createSession({ email, password, refreshTokenDelivery }));
  }

  async signOut(): Promise<void> {
    const headers = this.#headers();
    try {
      await this.#auth.deleteSession({ name: "sessions/current" }, { headers });
    } finally {
      this.#end();
    }
  }

  /** Exchanges the cookie for new tokens. Calls that come together share one exchange. */
  refresh(): Promise<Refreshed> {
    this.#running ??= this.#refreshAlone().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Adds the access token to calls; a unary call refused for it is renewed and repeated once. */
  readonly interceptor: Interceptor = (next) => async (request) => {
    const sent = this.#token;
    if (sent) request.header.set("authorization", `Bearer ${sent}`);
    try {
      return await next(request);
    } catch (error) {
      if (request.stream || ConnectError.from(error).code !== Code.Unauthenticated) throw error;
      // Another call may have renewed it meanwhile.
      if (sent === this.#token && (await this.refresh()) !== "live") throw error;
      request.header.set("authorization", `Bearer ${this.#token}`);
      return await next(request);
    }
  };

  /** Two tabs share one cookie: the lock keeps them from spending the same token twice. */
  async #refreshAlone(): Promise<Refreshed> {
    // Absent on plain HTTP from another machine; the retry below covers that.
    if (!navigator.locks) return this.#exchange();
    return await navigator.locks.request(LOCK, () => this.#exchange());
  }

  async #exchange(): Promise<Refreshed> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#adopt(await this.#auth.refreshSession({}));
        return "live";
      } catch (error) {
        // Spent by another tab a moment ago, whose answer brings the next cookie.
        if (attempt === 1 && reasonOf(error) === "REFRESH_TOKEN_SPENT") {
          await sleep(1000);
          continue;
        }
        if (isTransient(error)) {
          if (this.#token) this.#renewIn(10_000);
          return "unreachable";
        }
        this.#end();
        return "ended";
      }
    }
  }

  #adopt(response: CreateSessionResponse | RefreshSessionResponse): void {
    this.#token = response.accessToken;
    this.user = response.user;
    this.#renewIn(lifetimeMillis(response) * RENEW_AFTER);
  }

  #renewIn(millis: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), millis);
  }

  #end(): void {
    clearTimeout(this.#timer);
    const wasLive = this.#token !== "";
    this.#token = "";
    this.user = undefined;
    if (wasLive) this.onEnd();
  }

  #headers(): HeadersInit {
    return { authorization: `Bearer ${this.#token}` };
  }
}

/** Life of the access token by the server's clock alone: the browser's may be wrong by hours. */
function lifetimeMillis(response: CreateSessionResponse | RefreshSessionResponse): number {
  const begin = response.session?.refreshTime ?? response.session?.createTime;
  const end = response.accessTokenExpireTime;
  const life = begin && end ? timestampMs(end) - timestampMs(begin) : 0;
  return Math.min(15 * 60_000, Math.max(30_000, life));
}
