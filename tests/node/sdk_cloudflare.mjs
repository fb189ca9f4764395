// Goes through the management API with the public product's own SDK; prints what it found, one object a line.
import Cloudflare from "cloudflare";

const [baseURL, apiToken, gateway, elementsJson] = process.argv.slice(2);
const client = new Cloudflare({ baseURL, apiToken, maxRetries: 0 });
const account_id = "local";
const elements = JSON.parse(elementsJson);
const settings = {
  cache_invalidate_on_update: true,
  cache_ttl: 0,
  collect_logs: true,
  rate_limiting_interval: 0,
  rate_limiting_limit: 0,
};
const { aiGateway } = client;
const found = {};

async function failure(work) {
  try {
    await work();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, errors: error.errors };
  }
}

async function all(page) {
  const ids = [];
  for await (const each of page) ids.push(each.id);
  return ids;
}

const steps = {
  async gateways() {
    const made = await aiGateway.create({ account_id, id: gateway, ...settings, authentication: true });
    const updated = await aiGateway.update(gateway, { account_id, ...settings, cache_ttl: 90 });
    const got = await aiGateway.get(gateway, { account_id });
    return { id: made.id, authentication: made.authentication, cache_ttl: updated.cache_ttl, same: JSON.stringify(got) === JSON.stringify(updated) };
  },
  async pages() {
    const names = [1, 2, 3].map((number) => `${gateway}-${number}`);
    for (const id of names) await aiGateway.create({ account_id, id, ...settings });
    const ids = await all(aiGateway.list({ account_id, search: `${gateway}-`, per_page: 2 }));
    const past = await aiGateway.list({ account_id, search: gateway, page: 50 });
    for (const id of names) await aiGateway.delete(id, { account_id });
    return { ids, past: past.result };
  },
  async urls() {
    return { url: await aiGateway.urls.get("openai", { account_id, gateway_id: gateway }) };
  },
  async provider_configs() {
    const made = await aiGateway.providerConfigs.create(gateway, {
      account_id, alias: "default", default_config: true, provider_slug: "openai", secret: "sk-node-0123456789abcdef",
    });
    return { id: made.id, preview: made.secret_preview, ids: await all(aiGateway.providerConfigs.list(gateway, { account_id })) };
  },
  async custom_providers() {
    const slug = gateway.replaceAll("_", "-");
    const made = await aiGateway.customProviders.create({ account_id, base_url: "https://ai.example/v1", name: "Own", slug });
    const listed = await all(aiGateway.customProviders.list({ account_id, search: slug }));
    const got = await aiGateway.customProviders.get(made.id, { account_id });
    const deleted = await aiGateway.customProviders.delete(made.id, { account_id });
    return { id: made.id, listed, got: got.slug === slug, deleted: deleted.id };
  },
  async routes() {
    const routing = aiGateway.dynamicRouting;
    const here = { account_id, gateway_id: gateway };
    const made = await routing.create(gateway, { account_id, name: "support", elements });
    await routing.createVersion(made.id, { ...here, elements });
    const versions = (await routing.listVersions(made.id, here)).data.versions;
    const version = await routing.getVersion(versions[0].version_id, { ...here, id: made.id });
    await routing.createDeployment(made.id, { ...here, version_id: versions[0].version_id });
    const deployments = (await routing.listDeployments(made.id, here)).data.deployments;
    const renamed = await routing.update(made.id, { ...here, name: "renamed" });
    const listed = (await routing.list(gateway, { account_id })).data.routes.map((each) => each.name);
    const got = await routing.get(made.id, here);
    await routing.delete(made.id, here);
    return {
      versions: versions.length, elements: version.elements.length, deployments: deployments.length,
      renamed: renamed.route.name, listed, active: got.version.version_id === versions[0].version_id,
    };
  },
  async logs() {
    const filters = [{ key: "success", operator: "eq", value: [true] }];
    const page = await aiGateway.logs.list("default", { account_id, per_page: 5, filters });
    const [entry] = page.result;
    const here = { account_id, gateway_id: "default" };
    const got = await aiGateway.logs.get(entry.id, here);
    await aiGateway.logs.edit(entry.id, { ...here, feedback: -1, score: 10, metadata: { from: "node" } });
    const edited = await aiGateway.logs.get(entry.id, here);
    const asked = await aiGateway.logs.request(entry.id, here);
    const answered = await aiGateway.logs.response(entry.id, here);
    const deleted = await aiGateway.logs.delete("default", {
      account_id, filters: [{ key: "id", operator: "eq", value: [entry.id] }],
    });
    const after = await failure(() => aiGateway.logs.get(entry.id, here));
    return {
      succeeded: page.result.every((each) => each.success), same: got.id === entry.id,
      metadata: edited.metadata, asked: Boolean(asked), answered: Boolean(answered),
      deleted: deleted.success, after: after.status,
    };
  },
  async raw() {
    const response = await aiGateway.get(gateway, { account_id }).asResponse();
    const { data, response: same } = await aiGateway.get(gateway, { account_id }).withResponse();
    return { status: response.status, members: Object.keys(await response.json()).sort(), id: data.id, ok: same.ok };
  },
  async failures() {
    const stranger = new Cloudflare({ baseURL, apiToken: "hr_nobody", maxRetries: 0 });
    return {
      conflict: await failure(() => aiGateway.create({ account_id, id: gateway, ...settings })),
      bad: await failure(() => aiGateway.create({ account_id, id: "Not Allowed", ...settings })),
      unknown: await failure(() => stranger.aiGateway.get(gateway, { account_id })),
      gone: await failure(() => aiGateway.get("not-there", { account_id })),
    };
  },
  async deletion() {
    return { id: (await aiGateway.delete(gateway, { account_id })).id };
  },
};

for (const [name, step] of Object.entries(steps)) {
  try {
    found[name] = await step();
  } catch (error) {
    found[name] = { error: `${error?.name}: ${error?.message}` };
  }
}
console.log(JSON.stringify(found));
