import { type Code, ConnectError } from "@connectrpc/connect";

/** An error as the services return it: with an ErrorInfo detail, whose first field is the reason. */
export function rpcError(code: Code, reason: string): ConnectError {
  const error = new ConnectError(reason, code);
  const text = new TextEncoder().encode(reason);
  error.details.push({ type: "google.rpc.ErrorInfo", value: new Uint8Array([0x0a, text.length, ...text]) });
  return error;
}
