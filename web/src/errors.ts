// What went wrong, in words for people and in the contract's stable reasons for the code.
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

const ERROR_INFO = "google.rpc.ErrorInfo";

/** Stable reason of a refusal, as `CREDENTIALS_WRONG`; empty when the server gave none. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof ConnectError)) return "";
  for (const detail of error.details) {
    if ("type" in detail && detail.type === ERROR_INFO) return firstString(detail.value);
  }
  return "";
}

/** A sentence that can be shown. It may quote the server: show it as text, never as markup. */
export function sentenceOf(error: unknown): string {
  if (!(error instanceof ConnectError)) {
    return error instanceof Error ? error.message : String(error);
  }
  if (isUnreachable(error)) return "The server can't be reached just now. Try again in a moment.";
  const text = error.rawMessage.trim() || "The server refused, and gave no reason.";
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}

/** True when the call may not have arrived at all, or the server asked to be called later. */
export function isTransient(error: unknown): boolean {
  const code = ConnectError.from(error).code;
  return isUnreachable(error) || code === Code.ResourceExhausted || code === Code.DeadlineExceeded;
}

function isUnreachable(error: unknown): boolean {
  const { code, cause } = ConnectError.from(error);
  // A browser reports every failure of the network as a bare TypeError.
  return code === Code.Unavailable || cause instanceof TypeError || error instanceof TypeError;
}

/** Field 1 of a message, where that is a string: `reason` of ErrorInfo. */
function firstString(bytes: Uint8Array): string {
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 1) return reader.string();
      reader.skip(wireType);
    }
  } catch {
    // A malformed detail is no reason to hide the error itself.
  }
  return "";
}
