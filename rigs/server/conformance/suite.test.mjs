// The protocol's own suite, against the server that TRANSIT_URL names.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({
  baseUrl: process.env.TRANSIT_URL,
  longPollTimeoutMs: 2000,
  subscriptions: true,
});
