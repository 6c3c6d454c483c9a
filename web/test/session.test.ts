import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";
import { AuthService, RefreshTokenDelivery } from "../src/gen/reelmill/auth/v1/auth_pb";
import { VideoService } from "../src/gen/reelmill/upload/v1/video_pb";
import { Session } from "../src/session";
import { rpcError } from "./rpc-error";

// Node has `navigator` from 21 on and its locks from 24 on; the session must work without them.
Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });

const stored = new Map<string, string>();
Object.defineProperty(globalThis, "localStorage", {
  value: {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => void stored.set(key, value),
    removeItem: (key: string) => void stored.delete(key),
  },
});

/** A fake server that accepts one access token at a time; `expire` invalidates it. */
function server() {
  const state = { refreshes: 0, current: "", failWith: "", delivery: 0, deleted: 0, requestIds: [] as string[] };
  const tokens = () => {
    state.current = `token-${state.refreshes}-${Math.random()}`;
    return { accessToken: state.current, user: { email: "a@example.com" } };
  };
  const check = (header: Headers) => {
    if (header.get("authorization") !== `Bearer ${state.current}`) {
      throw rpcError(Code.Unauthenticated, "ACCESS_TOKEN_INVALID");
    }
  };
  const auth = createRouterTransport(({ service }) => {
    service(AuthService, {
      createSession(request) {
        state.delivery = request.refreshTokenDelivery;
        return tokens();
      },
      refreshSession(request) {
        state.refreshes += 1;
        state.requestIds.push(request.requestId);
        if (state.failWith === "UNAVAILABLE") throw rpcError(Code.Unavailable, "UNAVAILABLE");
        if (state.failWith) throw rpcError(Code.Unauthenticated, state.failWith);
        return tokens();
      },
      deleteSession(_request, context) {
        check(context.requestHeader);
        state.deleted += 1;
        return {};
      },
    });
  });
  const session = new Session(createClient(AuthService, auth));
  const videos = createClient(
    VideoService,
    createRouterTransport(
      ({ service }) => {
        service(VideoService, {
          async getVideo(request, context) {
            await new Promise((resolve) => setImmediate(resolve));
            check(context.requestHeader);
            return { video: { name: request.name } };
          },
        });
      },
      { transport: { interceptors: [session.interceptor] } },
    ),
  );
  return { state, session, auth, videos, expire: () => (state.current = "another") };
}

async function signedIn() {
  const all = server();
  await all.session.signIn("a@example.com", "correct horse");
  return all;
}

/** Stops the session's refresh timer, which would keep the test process running. */
async function signOut(session: Session): Promise<void> {
  await session.signOut().catch(() => {});
}

test("signIn requests cookie delivery, and calls carry the access token", async () => {
  const { state, session, videos } = await signedIn();
  assert.equal(state.delivery, RefreshTokenDelivery.COOKIE);
  assert.equal(session.user?.email, "a@example.com");
  assert.equal((await videos.getVideo({ name: "videos/1" })).video?.name, "videos/1");
  await signOut(session);
});

test("a refresh without a response is repeated with its request id, also by a reloaded page", async () => {
  const { state, session, auth } = await signedIn();
  state.failWith = "UNAVAILABLE";
  assert.equal(await session.refresh(), "unreachable");
  const reloaded = new Session(createClient(AuthService, auth));
  state.failWith = "";
  assert.equal(await reloaded.refresh(), "live");
  assert.equal(await reloaded.refresh(), "live");
  const [lost, repeated, next] = state.requestIds;
  assert.match(lost!, /^[0-9a-f]{32}$/);
  assert.equal(repeated, lost);
  assert.notEqual(next, lost);
  await signOut(session);
  await signOut(reloaded);
});

test("concurrent calls with an expired token refresh once and are each retried", async () => {
  const { state, session, videos, expire } = await signedIn();
  expire();
  const names = ["videos/1", "videos/2", "videos/3"];
  const responses = await Promise.all(names.map((name) => videos.getVideo({ name })));
  assert.deepEqual(responses.map((response) => response.video?.name), names);
  assert.equal(state.refreshes, 1);
  await signOut(session);
});

test("a rejected refresh ends the session and calls onEnd", async () => {
  const { state, session, videos, expire } = await signedIn();
  let ended = 0;
  session.onEnd = () => (ended += 1);
  expire();
  state.failWith = "SESSION_ENDED";
  await assert.rejects(videos.getVideo({ name: "videos/1" }), /ACCESS_TOKEN_INVALID/);
  assert.equal(ended, 1);
  assert.equal(session.user, undefined);
});

test("refresh with an unavailable server keeps the session", async () => {
  const { state, session } = await signedIn();
  state.failWith = "UNAVAILABLE";
  assert.equal(await session.refresh(), "unreachable");
  assert.equal(session.user?.email, "a@example.com");
  state.failWith = "";
  assert.equal(await session.refresh(), "live");
  await signOut(session);
});

test("refresh retries once after another tab has used the token", async () => {
  const { state, session } = await signedIn();
  state.failWith = "REFRESH_TOKEN_SPENT";
  const refreshed = session.refresh();
  // By the second attempt the other tab's cookie is set.
  const poll = setInterval(() => {
    if (state.refreshes === 1) state.failWith = "";
  }, 1);
  assert.equal(await refreshed, "live");
  clearInterval(poll);
  assert.equal(state.refreshes, 2);
  await signOut(session);
});

test("signOut ends the session on the server and locally", async () => {
  const { state, session, videos } = await signedIn();
  await session.signOut();
  assert.equal(state.deleted, 1);
  state.failWith = "REFRESH_TOKEN_INVALID";
  await assert.rejects(videos.getVideo({ name: "videos/1" }));
});
