import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { isTransient, reasonOf, sentenceOf } from "../src/errors";
import { refusal } from "./refusal";

test("reason comes from ErrorInfo", () => {
  assert.equal(reasonOf(refusal(Code.AlreadyExists, "EMAIL_TAKEN")), "EMAIL_TAKEN");
  assert.equal(reasonOf(new ConnectError("no details", Code.Internal)), "");
  assert.equal(reasonOf(new Error("no status")), "");
});

test("garbage in a detail is no reason, and throws nothing", () => {
  const error = new ConnectError("bad", Code.Internal);
  error.details.push({ type: "google.rpc.ErrorInfo", value: new Uint8Array([0x0a, 0xff]) });
  assert.equal(reasonOf(error), "");
});

test("sentences are whole", () => {
  assert.equal(sentenceOf(new ConnectError("no such video", Code.NotFound)), "No such video.");
  assert.equal(sentenceOf(new ConnectError("Why?", Code.NotFound)), "Why?");
  assert.match(sentenceOf(new ConnectError("", Code.Internal)), /refused/);
  assert.match(sentenceOf(ConnectError.from(new TypeError("Failed to fetch"))), /can't be reached/);
});

test("only what may pass by itself is transient", () => {
  assert.ok(isTransient(new ConnectError("", Code.Unavailable)));
  assert.ok(isTransient(new ConnectError("", Code.ResourceExhausted)));
  assert.ok(isTransient(new TypeError("Failed to fetch")));
  assert.ok(!isTransient(new ConnectError("", Code.Unauthenticated)));
  assert.ok(!isTransient(new ConnectError("", Code.InvalidArgument)));
});
