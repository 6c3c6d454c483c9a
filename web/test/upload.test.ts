import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";
import { UploadService, type SignedPart } from "../src/gen/reelmill/upload/v1/upload_pb";
import { Video_State } from "../src/gen/reelmill/upload/v1/video_pb";
import { PutError, type PutPart } from "../src/put-part";
import { Semaphore } from "../src/semaphore";
import { FileUpload } from "../src/upload";
import { rpcError } from "./rpc-error";

const PART_SIZE = 10;

/** A fake upload service and object store that record requests. `statusOf` returns the HTTP status of a PUT. */
function fakeServer(fileSize: number, statusOf: (part: SignedPart, attempt: number) => number = () => 200) {
  const partCount = Math.ceil(fileSize / PART_SIZE);
  const seen = {
    stored: new Map<number, string>(),
    order: [] as number[],
    attempts: new Map<number, number>(),
    created: [] as string[],
    signed: [] as number[],
    completed: [] as string[],
    parallel: 0,
    maxParallel: 0,
    progress: [] as number[],
    unavailableCalls: 0,
  };
  const sign = (numbers: number[]) => {
    seen.signed.push(...numbers);
    return numbers.map((partNumber) => ({ partNumber, uri: `store:${partNumber}:${seen.signed.length}` }));
  };
  const session = {
    name: "uploads/1",
    video: "videos/1",
    sizeBytes: BigInt(fileSize),
    partSizeBytes: BigInt(PART_SIZE),
    partCount,
  };
  const transport = createRouterTransport(({ service }) => {
    service(UploadService, {
      createUploadSession(request) {
        seen.created.push(request.requestId);
        if (seen.unavailableCalls-- > 0) throw rpcError(Code.Unavailable, "UNAVAILABLE");
        // The server may request the last part first.
        const first = [partCount, 1, 2].filter((number, index, all) => all.indexOf(number) === index);
        return { uploadSession: session, signedParts: sign(first.filter((number) => number <= partCount)) };
      },
      signUploadParts(request) {
        return { signedParts: sign(request.parts.map((part) => part.partNumber)) };
      },
      completeUploadSession(request) {
        seen.completed = request.parts.map((part) => `${part.partNumber}=${part.etag}`);
        return { video: { name: "videos/1", state: Video_State.PROCESSING } };
      },
    });
  });
  const putPart: PutPart = async (part, body, signal, sent) => {
    const attempt = (seen.attempts.get(part.partNumber) ?? 0) + 1;
    seen.attempts.set(part.partNumber, attempt);
    seen.order.push(part.partNumber);
    seen.parallel += 1;
    seen.maxParallel = Math.max(seen.maxParallel, seen.parallel);
    try {
      sent(body.size / 2);
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
      const status = statusOf(part, attempt);
      if (status !== 200) throw new PutError(status, `HTTP ${status}`);
      seen.stored.set(part.partNumber, await body.text());
      return `"etag-${part.partNumber}"`;
    } finally {
      seen.parallel -= 1;
    }
  };
  const content = Array.from({ length: fileSize }, (_, index) => String(index % 10)).join("");
  const upload = new FileUpload(new File([content], "clip.mp4"), {
    service: createClient(UploadService, transport),
    putPart,
    partSlots: new Semaphore(4),
    events: { opened: () => {}, progress: (bytes) => seen.progress.push(bytes) },
  });
  const joined = () => Array.from({ length: partCount }, (_, index) => seen.stored.get(index + 1)).join("");
  return { seen, upload, content, joined };
}

test("run sends every byte once, in the requested order, four parts at a time", async () => {
  const { seen, upload, content, joined } = fakeServer(1234);
  const video = await upload.run();
  assert.equal(video.state, Video_State.PROCESSING);
  assert.equal(joined(), content);
  assert.deepEqual(seen.order.slice(0, 3), [124, 1, 2]);
  assert.equal(seen.order.length, 124);
  assert.equal(seen.signed.length, 124);
  assert.equal(seen.maxParallel, 4);
  assert.equal(seen.completed.length, 124);
  assert.equal(seen.completed[0], '1="etag-1"');
  assert.equal(seen.completed.at(-1), '124="etag-124"');
  assert.equal(seen.progress.at(-1), 1234);
});

test("run with a file of one part stores its content", async () => {
  const { upload, content, joined } = fakeServer(3);
  await upload.run();
  assert.equal(joined(), content);
});

test("run resends a failed part only, with a new URL after HTTP 403", async () => {
  const statusOf = (part: SignedPart, attempt: number) => {
    if (part.partNumber === 2 && attempt === 1) return 503;
    if (part.partNumber === 5 && part.uri !== "store:5:11") return 403;
    return 200;
  };
  const { seen, upload, content, joined } = fakeServer(100, statusOf);
  await upload.run();
  assert.equal(joined(), content);
  assert.equal(seen.attempts.get(2), 2);
  assert.equal(seen.attempts.get(5), 2);
  assert.equal(seen.order.length, 12);
});

test("run stops at a permanent part error, and a second run resumes", async () => {
  let broken = true;
  const { seen, upload, content, joined } = fakeServer(400, (part) => (part.partNumber === 3 && broken ? 400 : 200));
  await assert.rejects(upload.run(), /HTTP 400/);
  assert.ok(seen.order.length < 40, "most other parts are not sent any more");
  assert.deepEqual(seen.completed, []);
  broken = false;
  await upload.run();
  assert.equal(joined(), content);
  assert.equal(seen.created.length, 1);
  assert.equal(seen.order.length, 41);
});

test("run retries CreateUploadSession with one request id while the server is unavailable", async () => {
  const { seen, upload } = fakeServer(10);
  seen.unavailableCalls = 2;
  await upload.run();
  assert.equal(seen.created.length, 3);
  assert.equal(new Set(seen.created).size, 1);
});

test("cancel stops the upload immediately", async () => {
  const { seen, upload } = fakeServer(4000);
  const run = upload.run();
  const stop = setInterval(() => {
    if (seen.order.length > 4) upload.cancel();
  }, 0);
  await assert.rejects(run, /cancelled/);
  clearInterval(stop);
  assert.ok(seen.order.length < 400);
  assert.deepEqual(seen.completed, []);
});
