// A typed client of the service. Each path and method of the OpenAPI document has the types
// of its parameters, bodies and problems.
import createFetchClient, { type ClientOptions } from "openapi-fetch";
import type { components, paths } from "./api.js";

export type { components, operations, paths } from "./api.js";

/** The body of every error response (RFC 9457). */
export type Problem = components["schemas"]["Problem"];

/** Options of openapi-fetch, and the API token, if the server demands one. */
export type Options = ClientOptions & { token?: string };

/** Returns a client with a method for each HTTP method, such as client.GET(path, options). */
export function createClient({ token, ...options }: Options) {
  const client = createFetchClient<paths>(options);
  if (token) {
    client.use({
      onRequest({ request }) {
        request.headers.set("Authorization", `Bearer ${token}`);
      },
    });
  }
  return client;
}
