import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";
import { UploadService, type SignedPart } from "../src/gen/reelmill/upload/v1/upload_pb";
import { Video_State } from "../src/gen/reelmill/upload/v1/video_pb";
import { PutRefused, type PutPart } from "../src/put";
import { Slots } from "../src/slots";
import { FileUpload } from "../src/upload";
import { refusal } from "./refusal";

const PART_SIZE = 10;

/** A service and a store that keep what they are sent. `fault` may refuse a PUT. */
function world(fileSize: number, fault: (part: SignedPart, attempt: number) => number = () => 200) {
  const partCount = Math.ceil(fileSize / PART_SIZE);
  const seen = {
    stored: new Map<number, string>(),
    order: [] as number[],
    attempts: new Map<number, number>(),
    created: [] as string[],
    signed: [] as number[],
    completed: [] as string[],
    parallel: 0,
    mostParallel: 0,
    progress: [] as number[],
    away: 0,
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
        if (seen.away-- > 0) throw refusal(Code.Unavailable, "AWAY");
        // The server may want the last part first.
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
  const put: PutPart = async (part, body, signal, sent) => {
    const attempt = (seen.attempts.get(part.partNumber) ?? 0) + 1;
    seen.attempts.set(part.partNumber, attempt);
    seen.order.push(part.partNumber);
    seen.parallel += 1;
    seen.mostParallel = Math.max(seen.mostParallel, seen.parallel);
    try {
      sent(body.size / 2);
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
      const status = fault(part, attempt);
      if (status !== 200) throw new PutRefused(status, `HTTP ${status}`);
      seen.stored.set(part.partNumber, await body.text());
      return `"etag-${part.partNumber}"`;
    } finally {
      seen.parallel -= 1;
    }
  };
  const content = Array.from({ length: fileSize }, (_, index) => String(index % 10)).join("");
  const upload = new FileUpload(new File([content], "clip.mp4"), {
    service: createClient(UploadService, transport),
    put,
    slots: new Slots(4),
    events: { opened: () => {}, progress: (bytes) => seen.progress.push(bytes) },
  });
  const joined = () => Array.from({ length: partCount }, (_, index) => seen.stored.get(index + 1)).join("");
  return { seen, upload, content, joined };
}

test("every byte arrives once, in the order asked for, four parts at a time", async () => {
  const { seen, upload, content, joined } = world(1234);
  const video = await upload.run();
  assert.equal(video.state, Video_State.PROCESSING);
  assert.equal(joined(), content);
  assert.deepEqual(seen.order.slice(0, 3), [124, 1, 2]);
  assert.equal(seen.order.length, 124);
  assert.equal(seen.signed.length, 124);
  assert.equal(seen.mostParallel, 4);
  assert.equal(seen.completed.length, 124);
  assert.equal(seen.completed[0], '1="etag-1"');
  assert.equal(seen.completed.at(-1), '124="etag-124"');
  assert.equal(seen.progress.at(-1), 1234);
});

test("a file of one part", async () => {
  const { upload, content, joined } = world(3);
  await upload.run();
  assert.equal(joined(), content);
});

test("a part that fails is sent again by itself, with a new address when its own was refused", async () => {
  const fault = (part: SignedPart, attempt: number) => {
    if (part.partNumber === 2 && attempt === 1) return 503;
    if (part.partNumber === 5 && part.uri !== "store:5:11") return 403;
    return 200;
  };
  const { seen, upload, content, joined } = world(100, fault);
  await upload.run();
  assert.equal(joined(), content);
  assert.equal(seen.attempts.get(2), 2);
  assert.equal(seen.attempts.get(5), 2);
  assert.equal(seen.order.length, 12);
});

test("a part the store will never take stops the upload, and trying again goes on where it stood", async () => {
  let broken = true;
  const { seen, upload, content, joined } = world(400, (part) => (part.partNumber === 3 && broken ? 400 : 200));
  await assert.rejects(upload.run(), /HTTP 400/);
  assert.ok(seen.order.length < 40, "the other parts are not sent in vain");
  assert.deepEqual(seen.completed, []);
  broken = false;
  await upload.run();
  assert.equal(joined(), content);
  assert.equal(seen.created.length, 1);
  assert.equal(seen.order.length, 41);
});

test("creating is repeated under one request id while the server is away", async () => {
  const { seen, upload } = world(10);
  seen.away = 2;
  await upload.run();
  assert.equal(seen.created.length, 3);
  assert.equal(new Set(seen.created).size, 1);
});

test("cancelling stops at once", async () => {
  const { seen, upload } = world(4000);
  const run = upload.run();
  const stop = setInterval(() => {
    if (seen.order.length > 4) upload.cancel();
  }, 0);
  await assert.rejects(run, /cancelled/);
  clearInterval(stop);
  assert.ok(seen.order.length < 400);
  assert.deepEqual(seen.completed, []);
});
