// Inserts, reserves and acknowledges with the types that openapi-typescript made, by openapi-fetch.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const client = createClient<paths>({ baseUrl: process.argv[2] });

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

const inserted = await client.POST("/v1/queues/{queue}/jobs", {
  params: { path: { queue: "generated" } },
  body: { payload: { n: 1 } },
});
check(inserted.data !== undefined && "id" in inserted.data, "it was not inserted");
const found = await client.POST("/v1/queues/{queues}/reservations", {
  params: { path: { queues: "none,generated" } },
  body: { lease: 30.5 },
});
const job = found.data?.jobs[0];
check(job !== undefined && job.id === inserted.data.id, "another job came");
const acked = await client.POST("/v1/jobs/{job_id}/ack", {
  params: { path: { job_id: job.id } },
  body: { receipt: job.receipt },
});
check(acked.response.status === 204, "it was not acknowledged");
const gone = await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: job.id } } });
check(gone.error?.type === "/problems/not-found", "the job is still there");
const pushed = await client.POST("/q/{queue}", {
  params: { path: { queue: "generated" }, query: { delayed: Math.floor(Date.now() / 1000) - 1 } },
  body: { n: 2 },
});
check(pushed.response.status === 201, "it was not pushed");
const taken = await client.GET("/q/{queue}", { params: { path: { queue: "generated" } } });
check(taken.data?.["n"] === 2, "another job was taken");
await client.DELETE("/v1/queues/{queue}", { params: { path: { queue: "generated" } } });
