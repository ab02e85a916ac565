// The console's page: one websocket, no framework, nothing from anywhere else.
const $ = (id) => document.getElementById(id);
const COLOURS = [[0, 200, 255], [255, 64, 160], [90, 225, 60], [255, 193, 7], [190, 110, 255], [255, 110, 60], [0, 220, 170], [150, 170, 255]];
const colourOf = (number) => COLOURS[(number - 1) % COLOURS.length];
const css = (rgb) => `rgb(${rgb.join(",")})`;
const SHOWN_MS = 4000; // an answer's masks on the live picture: then the world has moved on
const FADES_MS = 2500; // at the end of that: what moves has moved away from under its mask

const answers = new Map(); // number -> answer
let socket = null;
let retryMs = 500;
let current = 0; // the answer that is shown
let overlay = null; // what lies over the live picture: {objects, mask, until}

function send(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  else note(false, "not connected; trying again");
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { retryMs = 500; watch(); };
  socket.onmessage = (event) => {
    if (typeof event.data === "string") hear(JSON.parse(event.data));
    else showPicture(event.data);
  };
  socket.onclose = () => {
    showHealth("ERROR", "the console does not answer; is it running? Trying again");
    setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, 5000);
  };
}

const heard = {
  hello: (said) => {
    $("node").textContent = said.node;
    document.title = `segzero console ${said.node}`;
    answers.clear(); // their numbers begin anew where the console was started again
    masks.clear();
    images.clear();
    $("history").replaceChildren();
    for (const answer of said.answers) keep(answer);
    if (said.answers.length) show(said.answers.at(-1).number);
    $("thinking").textContent = said.thinking;
  },
  health: (said) => showHealth(said.level, said.message),
  thinking: (said) => think(said.text),
  answer: (said) => {
    keep(said);
    think(said.thinking);
    $("said").textContent = spoken(said);
    if (edit && !edit.kept) note(true, "another answer has come, it is in the history; this correction stays");
    else show(said.number);
    overlayAnswer(said);
  },
  track: (said) => overlayTrack(said),
  note: (said) => note(said.good, said.text),
  corrected: (said) => corrected(said),
  replay: (said) => {
    $("replayed").hidden = false;
    $("replayed").append(`${said.line}\n`);
    $("replayed").scrollTop = $("replayed").scrollHeight;
  },
  kept: (said) => {
    const answer = answers.get(said.number);
    if (answer) answer.corrections = said.corrections;
    if (said.number === current) {
      showVerdict(answer);
      if (edit) edit.kept = true;
    }
  },
  talk: (said) => {
    if (said.on) startMicrophone();
    else { note(false, said.detail); endTalk(); }
  },
};

function hear(said) {
  const handler = heard[said.type];
  if (handler) handler(said);
}

function showHealth(level, message) {
  $("health").dataset.level = level;
  if ($("health-text").textContent !== message) $("health-text").textContent = message;
}

function note(good, text) {
  $("note").textContent = text;
  $("note").classList.toggle("bad", !good);
}

function think(text) {
  const place = $("thinking");
  const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 20;
  place.textContent = text;
  if (atEnd) place.scrollTop = place.scrollHeight;
}

function spoken(answer) {
  const found = answer.objects.length;
  if (answer.code === "OK") return `${found} found for ${answer.command}`;
  return `${answer.command}: ${answer.detail || answer.code}`;
}

// ---- the live picture ----

async function showPicture(data) {
  const head = new DataView(data);
  const width = head.getUint16(2, true), height = head.getUint16(4, true);
  try {
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 16)], { type: "image/jpeg" }));
    const canvas = $("live");
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
    }
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    picture.close();
    if (overlay && overlay.until < performance.now()) overlay = null;
    if (overlay) {
      context.globalAlpha = Math.min(1, (overlay.until - performance.now()) / FADES_MS);
      drawOver(context, overlay, canvas.width / width);
      context.globalAlpha = 1;
    }
    if (!$("no-camera").hidden) $("no-camera").hidden = true;
    const label = overlay ? `Live camera picture, ${overlay.objects.length} marked` : "Live camera picture";
    if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
  } finally {
    if (socket && socket.readyState === WebSocket.OPEN) socket.send('{"type":"seen"}');
  }
}

function drawOver(context, over, scale) {
  if (over.mask) context.drawImage(over.mask, 0, 0, context.canvas.width, context.canvas.height);
  const line = Math.max(1.5, context.canvas.width / 400);
  context.lineWidth = line;
  context.font = `${Math.round(Math.max(12, context.canvas.width / 42))}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  for (const found of over.objects) {
    const [x0, y0, x1, y1] = found.box.map((side) => side * scale);
    const colour = css(colourOf(found.number));
    context.strokeStyle = colour;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    const name = `${found.number} ${found.label}`.trim().slice(0, 40);
    const width = context.measureText(name).width + 8;
    const size = parseInt(context.font) + 6;
    const top = y0 < size ? y0 + size : y0, left = Math.max(0, Math.min(x0, context.canvas.width - width));
    context.fillStyle = colour;
    context.fillRect(left, top - size, width, size);
    context.fillStyle = "#000";
    context.fillText(name, left + 4, top - 2);
  }
}

// A label image as a coloured one: the object's number is in every pixel.
async function tinted(blob) {
  const labels = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(labels.width, labels.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(labels, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const data = pixels.data;
  const row = 4 * canvas.width;
  const numbers = new Uint8Array(data.length / 4);
  for (let at = 0; at < numbers.length; at += 1) numbers[at] = data[4 * at];
  for (let at = 0; at < numbers.length; at += 1) {
    const number = numbers[at], place = 4 * at;
    if (number === 0) { data[place + 3] = 0; continue; }
    const isEdge = [1, -1, row / 4, -row / 4].some((step) => numbers[at + step] !== number);
    const [r, g, b] = colourOf(number);
    data[place] = r; data[place + 1] = g; data[place + 2] = b; data[place + 3] = isEdge ? 255 : 110;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function tintedText(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return tinted(new Blob([bytes], { type: "image/png" }));
}

async function overlayAnswer(answer) {
  if (!answer.objects.length) { overlay = null; return; }
  overlay = { objects: answer.objects, mask: await maskOf(answer), until: performance.now() + SHOWN_MS };
}

async function overlayTrack(said) {
  if (!said.mask || !said.objects.length) { overlay = null; return; }
  const mask = await tintedText(said.mask);
  overlay = { objects: said.objects, mask, until: performance.now() + 1000 + FADES_MS };
}

const masks = new Map();
async function maskOf(answer) {
  if (!answer.has_mask) return null;
  if (!masks.has(answer.number)) {
    masks.set(answer.number, fetch(`/answers/${answer.number}/mask.png`).then((got) => got.blob()).then(tinted));
    if (masks.size > 20) masks.delete(masks.keys().next().value);
  }
  return masks.get(answer.number);
}

// ---- the answers ----

function keep(answer) {
  answers.set(answer.number, answer);
  const known = document.querySelector(`#history button[data-number="${answer.number}"]`);
  if (known) return;
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.number = answer.number;
  const thumb = document.createElement("span");
  thumb.className = "thumb";
  if (answer.has_picture) {
    const image = document.createElement("img");
    image.src = `/answers/${answer.number}/picture.jpg`;
    image.alt = "";
    image.loading = "lazy";
    thumb.append(image);
  }
  const words = document.createElement("span");
  words.append(answer.command || "(empty)", document.createElement("br"), verdict(answer));
  button.append(thumb, words);
  button.onclick = () => show(answer.number);
  item.append(button);
  $("history").prepend(item);
  while ($("history").children.length > 50) $("history").lastChild.remove();
}

function verdict(answer) {
  const line = document.createElement("span");
  line.className = "soft";
  const code = document.createElement("span");
  code.className = `code ${answer.code}`;
  code.textContent = answer.code;
  line.append(code, ` ${answer.objects.length} found, ${answer.total_ms} ms`);
  return line;
}

async function show(number) {
  const answer = answers.get(number);
  if (!answer) return;
  current = number;
  for (const button of document.querySelectorAll("#history button"))
    button.setAttribute("aria-current", String(Number(button.dataset.number) === number));
  edit = null;
  showVerdict(answer);
  $("answer-stage").hidden = $("tools").hidden = !answer.has_picture;
  listObjects(answer);
  if (answer.has_picture) await drawAnswer();
}

function showVerdict(answer) {
  const words = $("verdict");
  words.replaceChildren(`“${answer.command}” `, verdict(answer));
  if (answer.corrections) words.append(` ${answer.corrections === 1 ? "corrected once" : `corrected ${answer.corrections} times`}`);
  if (answer.detail) words.append(document.createElement("br"), answer.detail);
}

// The objects of the answer, or of its correction; the one that is chosen gets the points.
function listObjects(answer) {
  const found = edit && edit.masked ? edit.masked.objects : answer.objects;
  const count = edit ? edit.objects.length : found.length;
  const chosen = edit ? edit.chosen : 0;
  $("objects").replaceChildren(...Array.from({ length: count }, (_, at) => {
    const item = document.createElement("li"), label = document.createElement("label");
    const radio = document.createElement("input"), swatch = document.createElement("span");
    const score = document.createElement("span"), remove = document.createElement("button");
    radio.type = "radio";
    radio.name = "object";
    radio.checked = at === chosen;
    radio.onchange = () => { begin(answer).chosen = at; drawAnswer(); };
    swatch.className = "swatch";
    swatch.style.background = css(colourOf(at + 1));
    score.className = "soft";
    score.textContent = found[at] ? `score ${found[at].score.toFixed(2)}` : "";
    label.append(radio, swatch, `${at + 1} ${found[at] ? found[at].label : answer.command}`, score);
    remove.type = "button";
    remove.textContent = "Remove";
    remove.setAttribute("aria-label", `Remove object ${at + 1}`);
    remove.onclick = () => change(answer, (now) => { now.objects.splice(at, 1); now.chosen = Math.max(0, Math.min(now.chosen, now.objects.length - 1)); });
    item.append(label, remove);
    return item;
  }));
  $("keep").disabled = !(edit && edit.masked);
  $("undo").disabled = !(edit && edit.past.length);
  $("revert").disabled = !edit;
}

const images = new Map();
async function pictureOf(answer) {
  if (!images.has(answer.number)) {
    images.set(answer.number, fetch(`/answers/${answer.number}/picture.jpg`).then((got) => got.blob()).then((blob) => createImageBitmap(blob)));
    if (images.size > 10) images.delete(images.keys().next().value);
  }
  return images.get(answer.number);
}

async function drawAnswer() {
  const answer = answers.get(current);
  const [picture, own] = await Promise.all([pictureOf(answer), maskOf(answer)]);
  if (current !== answer.number) return;
  const mask = edit ? edit.mask : own;
  const canvas = $("picture");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const objects = edit ? edit.objects.map((one, at) => ({ box: one.box, number: at + 1, label: "" })) : answer.objects;
  drawOver(context, { objects, mask }, 1);
  if (edit) edit.objects.forEach((one, at) => drawPoints(context, one, at === edit.chosen));
  if (band) { context.setLineDash([6, 4]); context.strokeStyle = "#fff"; context.strokeRect(...band); context.setLineDash([]); }
  if (cross) drawCross(context, cross);
  canvas.setAttribute("aria-label", edit ? `Correction with ${edit.objects.length} objects` : `The picture of the answer: ${spoken(answer)}`);
}

function drawPoints(context, one, isChosen) {
  const radius = Math.max(4, context.canvas.width / 110);
  for (const [points, sign] of [[one.on, "+"], [one.off, "−"]]) {
    for (const [x, y] of points) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = sign === "+" ? "#17c964" : "#f31260";
      context.globalAlpha = isChosen ? 1 : 0.5;
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = "#fff";
      context.stroke();
      context.fillStyle = "#fff";
      context.fillRect(x - radius * 0.6, y - 1, radius * 1.2, 2);
      if (sign === "+") context.fillRect(x - 1, y - radius * 0.6, 2, radius * 1.2);
      context.globalAlpha = 1;
    }
  }
}

function drawCross(context, [x, y]) {
  context.lineWidth = 2;
  for (const [colour, shift] of [["#000", 1], ["#fff", 0]]) {
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(x - 14, y + shift); context.lineTo(x + 14, y + shift);
    context.moveTo(x + shift, y - 14); context.lineTo(x + shift, y + 14);
    context.stroke();
  }
}

// ---- corrections ----

let edit = null; // of the answer that is shown: {objects: [{box, on, off}], chosen, past, masked, mask, serial}
let band = null; // a box that is being drawn: [x, y, width, height]
let cross = null; // where the keyboard points
let corner = null; // the first corner of a box made with the keyboard
let serial = 0;

function begin(answer) {
  if (!edit) {
    const objects = answer.objects.map((one) => ({ box: [...one.box], on: [[...one.point]], off: [] }));
    edit = { objects, chosen: 0, past: [], masked: null, mask: null, serial: 0 };
    maskOf(answer).then((mask) => { if (edit && !edit.mask) edit.mask = mask; });
  }
  return edit;
}

function change(answer, how) {
  const now = begin(answer);
  now.past.push(JSON.stringify({ objects: now.objects, chosen: now.chosen }));
  how(now);
  ask(answer);
}

function ask(answer) {
  edit.serial = ++serial;
  edit.masked = null;
  edit.kept = false;
  note(true, "masking …");
  send({ type: "correct", number: answer.number, serial, targets: edit.objects });
  listObjects(answer);
  drawAnswer();
}

async function corrected(said) {
  if (!edit || said.serial !== edit.serial || said.number !== current) return;
  const mask = said.mask ? await tintedText(said.mask) : null;
  if (!edit || said.serial !== edit.serial) return;
  edit.masked = said;
  edit.mask = mask;
  note(true, `corrected: ${said.objects.length} marked; keep it as a training row, or go on`);
  listObjects(answers.get(current));
  drawAnswer();
}

function point(x, y) {
  const answer = answers.get(current);
  const tool = document.querySelector("input[name=tool]:checked").value;
  const now = edit || begin(answer);
  if (!now.objects.length) { note(false, "draw a box around the object first: ▭ new box"); return; }
  change(answer, ({ objects, chosen }) => {
    const one = objects[chosen], [x0, y0, x1, y1] = one.box;
    one[tool].push([x, y]);
    if (tool === "on") one.box = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
  });
}

function addBox(x0, y0, x1, y1) {
  const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  if (box[2] - box[0] < 3 || box[3] - box[1] < 3) { note(false, "drag a box from corner to corner"); return; }
  change(answers.get(current), (now) => { now.objects.push({ box, on: [], off: [] }); now.chosen = now.objects.length - 1; });
}

function inPicture(event) {
  const canvas = $("picture"), place = canvas.getBoundingClientRect();
  const share = (value, size) => Math.min(Math.max(value, 0), 1) * size;
  return [share((event.clientX - place.left) / place.width, canvas.width), share((event.clientY - place.top) / place.height, canvas.height)]
    .map((side) => Math.round(side * 10) / 10);
}

let pressed = null;
const boxing = () => document.querySelector("input[name=tool]:checked").value === "box";
$("picture").onpointerdown = (event) => { pressed = inPicture(event); $("picture").setPointerCapture(event.pointerId); };
$("picture").onpointermove = (event) => {
  if (!pressed || !boxing()) return;
  const [x, y] = inPicture(event);
  band = [pressed[0], pressed[1], x - pressed[0], y - pressed[1]];
  drawAnswer();
};
$("picture").onpointerup = (event) => {
  if (!pressed) return;
  const [x, y] = inPicture(event), [x0, y0] = pressed;
  pressed = band = null;
  if (boxing()) addBox(x0, y0, x, y); else point(x, y);
};
$("picture").onpointercancel = () => { pressed = band = null; drawAnswer(); };
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
$("picture").onkeydown = (event) => {
  const canvas = $("picture");
  cross = cross || [canvas.width / 2, canvas.height / 2];
  if (STEPS[event.key]) {
    const size = event.shiftKey ? 1 : 10, [dx, dy] = STEPS[event.key];
    cross = [Math.min(Math.max(cross[0] + dx * size, 0), canvas.width), Math.min(Math.max(cross[1] + dy * size, 0), canvas.height)];
    band = corner ? [...corner, cross[0] - corner[0], cross[1] - corner[1]] : null;
  } else if (event.key === "Enter" || event.key === " ") {
    if (!boxing()) point(...cross);
    else if (!corner) { corner = cross; note(true, "first corner set; move on and press Enter again"); }
    else { addBox(...corner, ...cross); corner = band = null; }
  } else return;
  event.preventDefault();
  drawAnswer();
};
$("picture").onblur = () => { cross = corner = band = null; if (answers.get(current)?.has_picture) drawAnswer(); };
$("undo").onclick = () => { Object.assign(edit, JSON.parse(edit.past.pop())); ask(answers.get(current)); };
$("revert").onclick = () => { note(true, ""); show(current); };
$("keep").onclick = () => send({ type: "keep", number: current });

// ---- what a person does ----

$("ask").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) { note(false, "type what should be found"); return; }
  note(true, "");
  edit = null;
  think("");
  $("verdict").textContent = `“${text}” …`;
  send({ type: "ask", text, track: $("track").checked });
  $("text").select();
};
$("stop").onclick = () => { overlay = null; send({ type: "stop" }); };
$("replay").onclick = () => { $("replayed").textContent = ""; send({ type: "replay" }); };
$("save").onclick = () => send({ type: "save" });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { event.preventDefault(); $("stop").click(); }
});
function watch() { send({ type: "watch", on: document.visibilityState === "visible" }); }
document.addEventListener("visibilitychange", watch);


// ---- push to talk: the microphone as 16-bit samples at 16 kHz ----

let microphone = null; // {context, stream, node}
let wantsToTalk = false;

async function openMicrophone() {
  if (!navigator.mediaDevices) throw new Error("a browser gives its microphone to https and to this machine's own pages only");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, noiseSuppression: true } });
  const context = new AudioContext();
  await context.audioWorklet.addModule("/microphone.js");
  const node = new AudioWorkletNode(context, "pcm16k", { numberOfOutputs: 0 });
  context.createMediaStreamSource(stream).connect(node);
  node.port.onmessage = (event) => { if (socket && socket.readyState === WebSocket.OPEN) socket.send(event.data); };
  return { context, stream };
}

async function startMicrophone() {
  try {
    if (wantsToTalk) microphone = await openMicrophone();
    if (!wantsToTalk) stopMicrophone();
    else note(true, "listening; let go when you have said it");
  } catch (error) {
    note(false, `no microphone: ${error.message}`);
    endTalk();
  }
}

function stopMicrophone() {
  if (!microphone) return;
  for (const track of microphone.stream.getTracks()) track.stop();
  microphone.context.close();
  microphone = null;
}

function beginTalk() {
  if (wantsToTalk) return;
  wantsToTalk = true;
  $("talk").setAttribute("aria-pressed", "true");
  send({ type: "talk", on: true });
}

function endTalk() {
  if (!wantsToTalk) return;
  wantsToTalk = false;
  $("talk").setAttribute("aria-pressed", "false");
  stopMicrophone();
  send({ type: "talk", on: false });
}

$("talk").onpointerdown = (event) => { $("talk").setPointerCapture(event.pointerId); beginTalk(); };
$("talk").onpointerup = $("talk").onpointercancel = $("talk").onblur = endTalk;
$("talk").onkeydown = (event) => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); beginTalk(); } };
$("talk").onkeyup = (event) => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); endTalk(); } };
$("talk").oncontextmenu = (event) => event.preventDefault();

connect();
