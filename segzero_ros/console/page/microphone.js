// Samples at the browser's rate in, 16-bit samples at 16 kHz out, a tenth of a second at a time.
const RATE = 16000;
const CHUNK = 1600;

class Pcm16k extends AudioWorkletProcessor {
  constructor() {
    super();
    this.step = sampleRate / RATE;
    this.at = 0; // where the next sample out lies, in samples in
    this.sum = 0; // of the samples in that belong to it: their mean is a low-pass good enough for speech
    this.count = 0;
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
  }

  process(inputs) {
    const samples = inputs[0][0];
    if (!samples) return true;
    for (const sample of samples) {
      this.sum += sample;
      this.count += 1;
      this.at += 1;
      if (this.at < this.step) continue;
      this.at -= this.step;
      const mean = Math.max(-1, Math.min(1, this.sum / this.count));
      this.chunk[this.filled] = Math.round(mean * 32767);
      this.filled += 1;
      this.sum = this.count = 0;
      if (this.filled === CHUNK) {
        const full = this.chunk;
        this.chunk = new Int16Array(CHUNK);
        this.filled = 0;
        this.port.postMessage(full.buffer, [full.buffer]);
      }
    }
    return true;
  }
}

registerProcessor("pcm16k", Pcm16k);
