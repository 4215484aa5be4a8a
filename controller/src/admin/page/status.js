// Draws what api/v1/events tells, as it comes. Everything is put in as text: a name of a pod is never markup.
"use strict";

const ROW_REM = 4.7; // the height of .pod
const SWITCHES_SHOWN = 12;
const TRUE_IS_BAD = new Set(["Blind", "SplitBrain", "LabelContested", "NoMark", "ForeignServer"]);
const STATES = { Settled: "good", Moving: "odd", Paused: "odd" };
const STANDINGS = {
  Writable: "takes writes", InRecovery: "standby", Down: "down", Starting: "starting or stopping", Silent: "no answer",
  Barred: "lets nobody look", Unclear: "says nothing of use",
};

function el(name, classes, ...inside) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...inside.filter((part) => part !== null && part !== undefined));
  return made;
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
}

function span(millis) {
  if (millis < 10) return `${millis.toFixed(1)} ms`;
  if (millis < 1000) return `${Math.round(millis)} ms`;
  return millis < 60000 ? `${(millis / 1000).toFixed(2)} s` : `${Math.floor(millis / 60000)} min`;
}

function age(since, now) {
  const seconds = Math.max(0, Math.round((Date.parse(now) - Date.parse(since)) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

function pod(member, now) {
  const role = member.role ?? "no role";
  const worrying = !["Writable", "InRecovery"].includes(member.evidence) || role === "orphan";
  const facts = [
    member.timeline === undefined ? null : `timeline ${member.timeline}`,
    member.lagBytes === undefined ? null : `lag ${bytes(member.lagBytes)}`,
    member.probeMicros === undefined ? null : `asked in ${span(member.probeMicros / 1000)}`,
    member.since === undefined ? null : `so for ${age(member.since, now)}`,
  ].filter((fact) => fact !== null);
  const why = el("div", "why", member.why);
  why.title = member.why;
  return el("div", `pod ${role}`, el("div", "",
    el("div", "first", el("b", "", member.pod), el("span", worrying ? "bad" : "", `${role}, ${STANDINGS[member.evidence] ?? member.evidence}`),
      el("span", "quiet", member.node ?? "")),
    el("div", "facts", ...facts.map((fact) => el("span", "", fact))),
    why));
}

function wire(svg, from, to, classes) {
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", `M0,${from} C50,${from} 50,${to} 100,${to}`);
  path.setAttribute("class", classes);
  path.setAttribute("vector-effect", "non-scaling-stroke");
  svg.append(path);
}

function picture(route, now) {
  const rows = Math.max(route.members.length, 2);
  const heights = { primary: rows * 27, replica: rows * 73 };
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "wires");
  svg.setAttribute("viewBox", `0 0 100 ${rows * 100}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const led = { primary: 0, replica: 0 };
  route.members.forEach((member, row) => {
    const middle = row * 100 + 50;
    if (member.role === "primary" || member.role === "replica") {
      led[member.role] += 1;
      const late = member.role === "primary" && !member.amongWriteEndpoints;
      wire(svg, heights[member.role], middle, late ? "primary late" : member.role);
    }
    if (member.role !== "primary" && member.amongWriteEndpoints) wire(svg, heights.primary, middle, "primary late");
  });
  const service = (role, what) => {
    const box = el("div", `service ${led[role] ? role : "nobody"}`, el("b", "", route.services[role]),
      el("span", "quiet", led[role] ? what : `${what}: leads nowhere`));
    box.style.top = `${heights[role] / rows}%`;
    return box;
  };
  const drawn = el("div", "picture", el("div", "services", service("primary", "writes"), service("replica", "reads")), svg,
    el("div", "", ...route.members.map((member) => pod(member, now))));
  drawn.style.minHeight = `${rows * ROW_REM}rem`;
  return drawn;
}

function trouble(route) {
  const bad = route.conditions.filter((condition) => (condition.status === "True") === TRUE_IS_BAD.has(condition.type));
  const told = bad.filter((condition) => condition.type !== "Settled" || bad.length === 1);
  if (told.length === 0) return null;
  return el("ul", "trouble", ...told.map((condition) =>
    el("li", "", el("b", "", `${condition.type} is ${condition.status}: ${condition.reason}`), condition.message ? ` ${condition.message}` : "")));
}

function next(route) {
  if (route.next.turns.length === 0) return null;
  const steps = route.next.turns.map((turn) => turn.writes.join("; ")).join(" → ");
  return el("p", "quiet", `${route.next.ifResumed ? "If it were resumed" : "Next"}: ${steps}`);
}

function strip(route, now) {
  if (route.switches.length === 0) return [];
  const blocks = route.switches.slice(0, SWITCHES_SHOWN).map((one) => {
    const phases = one.phases;
    const bar = el("div", "bar");
    if (phases) {
      let before = 0;
      const total = Math.max(1, phases.settledMillis);
      for (const [name, until] of [["withdrawn", phases.withdrawnMillis], ["granted", phases.grantedMillis], ["followed", phases.followedMillis],
        ["settled", phases.settledMillis]]) {
        if (until === undefined || until < before) continue;
        const part = el("i", name);
        part.style.width = `${((until - before) * 100) / total}%`;
        part.title = `${name} after ${span(until)}`;
        bar.append(part);
        before = until;
      }
    }
    const outage = phases?.writeOutageMillis;
    const block = el("div", "switch", el("div", "who", `${one.from ?? "nobody"} → ${one.to}`), bar,
      el("div", "", `${one.cause ?? "cause not known"}, timeline ${one.timeline}`),
      el("div", "quiet", `${age(one.at, now)} ago${outage === undefined ? "" : `, no writes for ${span(outage)}`}`));
    block.title = one.trace ? `trace ${one.trace}` : "";
    return block;
  });
  return [el("h3", "", "Last switches, the newest first (until withdrawn, granted, followed by the endpoints, settled)"), el("div", "strip", ...blocks)];
}

function drawRoute(route, now) {
  const moving = route.moving ? el("span", "odd", `switching: ${route.moving.cause}`) : null;
  const seen = age(route.seenAt, now);
  return el("section", "route",
    el("div", "", el("h2", "", `${route.namespace}/${route.name}`), el("span", `pill ${STATES[route.state] ?? "bad"}`, route.state), moving,
      el("span", "quiet", `looked at ${seen} ago`)),
    trouble(route), next(route), picture(route, now), ...strip(route, now));
}

function show(by, routes) {
  document.getElementById("by").textContent = by;
  document.getElementById("routes").replaceChildren(...routes);
}

function live(connected) {
  document.body.classList.toggle("stale", !connected);
  document.getElementById("link").textContent = connected ? "live" : "no connection: what is shown is old; trying again …";
}

const SILENT_MILLIS = 3000; // a way to here that holds streams back: ask for the whole instead
let heard = 0;

function tell(told) {
  if (told.kind === "NotLeader") tellFollower(told);
  else tellRoutes(told);
}

async function askAgain() {
  if (Date.now() - heard > SILENT_MILLIS * 3) {
    try {
      const answer = await fetch("api/v1/routes");
      tell(await answer.json());
      live(true);
    } catch {
      live(false);
    }
  }
  setTimeout(askAgain, SILENT_MILLIS);
}
setTimeout(askAgain, SILENT_MILLIS);

const events = new EventSource("api/v1/events");
events.addEventListener("open", () => live(true));
events.addEventListener("error", () => live(false));
for (const kind of ["routes", "notLeader"]) {
  events.addEventListener(kind, (event) => {
    heard = Date.now();
    tell(JSON.parse(event.data));
  });
}

function tellRoutes(told) {
  const routes = told.routes.map((route) => drawRoute(route, told.now));
  const scrolled = [...document.querySelectorAll(".strip")].map((strip) => strip.scrollLeft);
  show(`leader ${told.leader}, term ${told.term}, version ${told.version}`, routes.length ? routes : [el("p", "", "There are no routes.")]);
  document.querySelectorAll(".strip").forEach((strip, at) => { strip.scrollLeft = scrolled[at] ?? 0; });
}

function tellFollower(told) {
  const leader = told.leader;
  const name = leader?.replace(/_[0-9a-f]{8}$/, "");
  show(`this replica does not lead: ${told.message}`, leader
    ? [el("section", "route", el("p", "", "The routes are the leader's: ", el("b", "", name)),
      el("p", "quiet", "Its page: ", el("code", "", `kubectl port-forward -n NAMESPACE pod/${name} 8080`)))]
    : []);
}
