import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";
import { AuthService, RefreshTokenDelivery } from "../src/gen/reelmill/auth/v1/auth_pb";
import { VideoService } from "../src/gen/reelmill/upload/v1/video_pb";
import { Session } from "../src/session";
import { refusal } from "./refusal";

// Node has `navigator` from 21 and its locks from 24 on; the session must do without them.
Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });

/** A server that accepts one access token at a time, which `expire` makes stale. */
function server() {
  const state = { refreshes: 0, current: "", refuseWith: "", delivery: 0, deleted: 0 };
  const tokens = () => {
    state.current = `token-${state.refreshes}-${Math.random()}`;
    return { accessToken: state.current, user: { email: "a@example.com" } };
  };
  const check = (header: Headers) => {
    if (header.get("authorization") !== `Bearer ${state.current}`) {
      throw refusal(Code.Unauthenticated, "ACCESS_TOKEN_INVALID");
    }
  };
  const auth = createRouterTransport(({ service }) => {
    service(AuthService, {
      createSession(request) {
        state.delivery = request.refreshTokenDelivery;
        return tokens();
      },
      refreshSession() {
        state.refreshes += 1;
        if (state.refuseWith === "DOWN") throw refusal(Code.Unavailable, "DOWN");
        if (state.refuseWith) throw refusal(Code.Unauthenticated, state.refuseWith);
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
  return { state, session, videos, expire: () => (state.current = "another") };
}

async function signedIn() {
  const all = server();
  await all.session.signIn("a@example.com", "correct horse");
  return all;
}

/** Stops the session's renewal timer, which would keep the test process alive. */
async function signOut(session: Session): Promise<void> {
  await session.signOut().catch(() => {});
}

test("signing in asks for the cookie, and calls carry the token", async () => {
  const { state, session, videos } = await signedIn();
  assert.equal(state.delivery, RefreshTokenDelivery.COOKIE);
  assert.equal(session.user?.email, "a@example.com");
  assert.equal((await videos.getVideo({ name: "videos/1" })).video?.name, "videos/1");
  await signOut(session);
});

test("a stale token is renewed once for many calls, and each is repeated", async () => {
  const { state, session, videos, expire } = await signedIn();
  expire();
  const names = ["videos/1", "videos/2", "videos/3"];
  const answers = await Promise.all(names.map((name) => videos.getVideo({ name })));
  assert.deepEqual(answers.map((answer) => answer.video?.name), names);
  assert.equal(state.refreshes, 1);
  await signOut(session);
});

test("a refused refresh ends the session and says so", async () => {
  const { state, session, videos, expire } = await signedIn();
  let ended = 0;
  session.onEnd = () => (ended += 1);
  expire();
  state.refuseWith = "SESSION_ENDED";
  await assert.rejects(videos.getVideo({ name: "videos/1" }), /ACCESS_TOKEN_INVALID/);
  assert.equal(ended, 1);
  assert.equal(session.user, undefined);
});

test("a server that is away does not sign anyone out", async () => {
  const { state, session } = await signedIn();
  state.refuseWith = "DOWN";
  assert.equal(await session.refresh(), "unreachable");
  assert.equal(session.user?.email, "a@example.com");
  state.refuseWith = "";
  assert.equal(await session.refresh(), "live");
  await signOut(session);
});

test("a token that another tab has just spent is asked for once more", async () => {
  const { state, session } = await signedIn();
  state.refuseWith = "REFRESH_TOKEN_SPENT";
  const refreshed = session.refresh();
  // The other tab's cookie is here by the second try.
  const poll = setInterval(() => {
    if (state.refreshes === 1) state.refuseWith = "";
  }, 1);
  assert.equal(await refreshed, "live");
  clearInterval(poll);
  assert.equal(state.refreshes, 2);
  await signOut(session);
});

test("signing out ends the session on the server and here", async () => {
  const { state, session, videos } = await signedIn();
  await session.signOut();
  assert.equal(state.deleted, 1);
  state.refuseWith = "REFRESH_TOKEN_INVALID";
  await assert.rejects(videos.getVideo({ name: "videos/1" }));
});
