// Reads the JSON with a client library of Statuspage's API and the calendar with a parser that is not ours; prints what they saw.
"use strict";
const { createRequire } = require("module");
const path = require("path");
const load = createRequire(path.join(process.argv[2], "package.json"));
const base = process.argv[3];

async function main() {
  const { Statuspage } = load("statuspage.io");
  const client = new Statuspage("docuquery");
  client.apiClient.defaults.baseURL = base;
  const ICAL = (await import(load.resolve("ical.js"))).default;
  const text = await (await fetch(base + "/maintenance.ics")).text();
  const calendar = new ICAL.Component(ICAL.parse(text));
  const events = calendar.getAllSubcomponents("vevent").map((node) => {
    const event = new ICAL.Event(node);
    return {
      uid: event.uid, summary: event.summary, description: event.description,
      begin: event.startDate.toJSDate().toISOString(), end: event.endDate.toJSDate().toISOString(),
    };
  });
  const found = {
    status: await client.getStatus(),
    summary: await client.getSummary(),
    components: await client.getComponents(),
    incidents: await client.api.incidents.getAll(),
    unresolved: await client.api.incidents.getUnresolved(),
    upcoming: await client.api.scheduledMaintenances.getUpcoming(),
    events,
  };
  process.stdout.write(JSON.stringify(found));
}

main().catch((problem) => { console.error(problem); process.exit(1); });
