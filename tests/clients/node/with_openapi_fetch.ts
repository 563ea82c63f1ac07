// The flow as a user of openapi-typescript with openapi-fetch writes it; given the address of a gateway.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/schema";

// With this header openapi-fetch sends a body as a form.
const headers = { "Content-Type": "application/x-www-form-urlencoded" };

async function main(address: string): Promise<void> {
  const username = `u${randomUUID().replaceAll("-", "").slice(0, 16)}`;
  const email = `${username}@example.com`;
  const password = "a quiet red bicycle";
  const client = createClient<paths>({ baseUrl: address });

  const registered = await client.POST("/api/v1/auth/register", {
    // In the types of openapi-typescript a member with a default is required.
    body: { username, email, password, role: "user", is_active: true },
  });
  assert.equal(registered.response.status, 201, JSON.stringify(registered.error));

  const signIn = (credentials: components["schemas"]["Credentials"]) =>
    client.POST("/api/v1/auth/login", { headers, body: credentials });
  const renew = (refresh_token: string) =>
    client.POST("/api/v1/auth/refresh", { headers, body: { refresh_token, grant_type: "refresh_token" } });

  const refused = await signIn({ username, password: "wrong", grant_type: "password" });
  assert.equal(refused.error?.type, "invalid-credentials");
  const byEmail = await signIn({ email, password, grant_type: "password" });
  const signedIn = await signIn({ username, password, grant_type: "password" });
  assert.ok(byEmail.data && signedIn.data);
  const refreshed = await renew(signedIn.data.refresh_token);
  assert.ok(refreshed.data);
  const tokens: components["schemas"]["SessionTokens"] = refreshed.data;
  assert.notEqual(tokens.refresh_token, signedIn.data.refresh_token);

  const anonymous = await client.GET("/api/v1/posts", { params: { query: { sort: "top" } } });
  assert.ok(anonymous.data);

  client.use({
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${tokens.access_token}`);
      return request;
    },
  });
  const created = await client.POST("/api/v1/posts", {
    body: { title: "A title", content: "Words", published: true },
  });
  const post = created.data;
  assert.ok(post);
  assert.equal(post.owner.username, username);
  const path = { post_id: post.id };
  const changed = await client.PATCH("/api/v1/posts/{post_id}", { params: { path }, body: { title: "Another" } });
  assert.equal(changed.data?.title, "Another");
  const cast = await client.POST("/api/v1/votes", { body: { post_id: post.id, direction: 1 } });
  assert.equal(cast.data?.votes, 1);

  const sorts: components["schemas"]["ContentSort"][] = ["top", "hot", "new"];
  for (const sort of sorts) {
    const page = await client.GET("/api/v1/posts", { params: { query: { sort, limit: 100 } } });
    assert.ok(page.data?.items.some((item) => item.id === post.id));
  }
  const counted = await client.GET("/api/v1/posts", { params: { query: { mine: true, total: true } } });
  assert.ok(counted.data && "total" in counted.data && counted.data.total === 1);

  const sessions = await client.GET("/api/v1/auth/sessions");
  assert.ok(sessions.data);
  assert.equal(sessions.data.items.filter((session) => session.is_current).length, 1);
  assert.equal(sessions.data.items.length, 2);
  const next: string | null = sessions.data.next;
  assert.equal(next, null);

  const revoked = await client.POST("/api/v1/auth/revoke", {
    headers,
    body: { token: byEmail.data.refresh_token },
  });
  assert.equal(revoked.response.status, 200);
  const deleted = await client.DELETE("/api/v1/posts/{post_id}", { params: { path } });
  assert.equal(deleted.response.status, 204);
  const missing = await client.GET("/api/v1/posts/{post_id}", { params: { path } });
  assert.equal(missing.error?.status, 404);

  const left = await client.POST("/api/v1/auth/logout");
  assert.equal(left.response.status, 204);
  const ended = await renew(tokens.refresh_token);
  assert.equal(ended.error?.type, "invalid-refresh-token");
}

main(process.argv[2] ?? "").catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
