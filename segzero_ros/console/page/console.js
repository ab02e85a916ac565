// The console's page: one websocket, no framework, nothing from anywhere else.
const $ = (id) => document.getElementById(id);
const COLOURS = [[255, 99, 71], [30, 144, 255], [50, 205, 50], [255, 193, 7], [186, 85, 211], [0, 206, 209], [255, 140, 0], [240, 98, 146]];
const colourOf = (number) => COLOURS[(number - 1) % COLOURS.length];
const css = (rgb) => `rgb(${rgb.join(",")})`;
const SHOWN_MS = 4000; // an answer's masks on the live picture: then the world has moved on

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
    answers.clear();
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
    show(said.number);
    overlayAnswer(said);
  },
  track: (said) => overlayTrack(said),
  note: (said) => note(said.good, said.text),
  talk: (said) => said.on ? startMicrophone() : note(false, said.detail),
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
    if (overlay) drawOver(context, overlay, canvas.width / width);
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
    const name = `${found.number} ${found.label}`.slice(0, 40);
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
  for (let at = 0; at < data.length; at += 4) {
    const number = data[at];
    if (number === 0) { data[at + 3] = 0; continue; }
    const [r, g, b] = colourOf(number);
    data[at] = r; data[at + 1] = g; data[at + 2] = b; data[at + 3] = 120;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

async function overlayAnswer(answer) {
  if (!answer.objects.length) { overlay = null; return; }
  overlay = { objects: answer.objects, mask: await maskOf(answer), until: performance.now() + SHOWN_MS };
}

async function overlayTrack(said) {
  if (!said.mask || !said.objects.length) { overlay = null; return; }
  const bytes = Uint8Array.from(atob(said.mask), (c) => c.charCodeAt(0));
  const mask = await tinted(new Blob([bytes], { type: "image/png" }));
  overlay = { objects: said.objects, mask, until: performance.now() + 1000 };
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
  const words = $("verdict");
  words.replaceChildren(`“${answer.command}” `, verdict(answer));
  if (answer.detail) words.append(document.createElement("br"), answer.detail);
  $("objects").replaceChildren(...answer.objects.map(describe));
  $("answer-stage").hidden = !answer.has_picture;
  if (answer.has_picture) await drawAnswer(answer);
}

function describe(found) {
  const item = document.createElement("li");
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = css(colourOf(found.number));
  const score = document.createElement("span");
  score.className = "soft";
  score.textContent = `score ${found.score.toFixed(2)}`;
  item.append(swatch, `${found.number} ${found.label}`, score);
  return item;
}

const images = new Map();
async function pictureOf(answer) {
  if (!images.has(answer.number)) {
    images.set(answer.number, fetch(`/answers/${answer.number}/picture.jpg`).then((got) => got.blob()).then((blob) => createImageBitmap(blob)));
    if (images.size > 10) images.delete(images.keys().next().value);
  }
  return images.get(answer.number);
}

async function drawAnswer(answer) {
  const [picture, mask] = await Promise.all([pictureOf(answer), maskOf(answer)]);
  if (current !== answer.number) return;
  const canvas = $("picture");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  drawOver(context, { objects: answer.objects, mask }, picture.width / (answer.width || picture.width));
  canvas.setAttribute("aria-label", `The picture of the answer: ${spoken(answer)}`);
}

// ---- what a person does ----

$("ask").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) { note(false, "type what should be found"); return; }
  note(true, "");
  think("");
  $("verdict").textContent = `“${text}” …`;
  send({ type: "ask", text, track: $("track").checked });
  $("text").select();
};
$("stop").onclick = () => { overlay = null; send({ type: "stop" }); };
$("save").onclick = () => send({ type: "save" });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { event.preventDefault(); $("stop").click(); }
});
function watch() { send({ type: "watch", on: document.visibilityState === "visible" }); }
document.addEventListener("visibilitychange", watch);

function startMicrophone() {}
connect();
