/** Bytes of a file: as they are, in a file that was chosen, or on their way from a server. */
export type Bytes = ArrayBuffer | ArrayBufferView | Blob | Response;

/** A picture in the order red, green, blue, alpha: what a canvas's `getImageData` gives. Alpha counts for nothing. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray | Uint8Array;
}

/** A build of the runtime: with relaxed SIMD, with SIMD of 128 bits, or with neither. */
export type Build = 'relaxed' | 'simd' | 'plain';

/** Bytes of a file or a layer, by what they hold. */
export interface Size {
  readonly total: number;
  readonly codes: number;
  readonly scales: number;
  /** Biases, multipliers and shifts. */
  readonly requantization: number;
  readonly tables: number;
  readonly metadata: number;
}

export interface Layer {
  readonly name: string;
  /** `conv`, `add`, `max_pool`, … */
  readonly kind: string;
  /** Channels, rows and columns of what it yields. */
  readonly output: readonly [number, number, number];
  /** How weights are stored, such as `ternary:64`, where there are any. */
  readonly precision?: string;
  /** The width that a layer which switches has now. */
  readonly bits?: number;
  /** Milliseconds, after `profile`; none where another layer's kernel does its work too. */
  readonly time?: number;
  readonly size: Size;
}

export interface Guess {
  readonly index: number;
  /** The class's name in the model's file, else `class` and its index. */
  readonly label: string;
  readonly logit: number;
  /** From 0 to 1. */
  readonly probability: number;
}

export interface Model {
  readonly name: string;
  /** Channels, rows and columns that the network reads. */
  readonly input: readonly [number, number, number];
  /** Names of the classes; empty if the file has none. */
  readonly classes: readonly string[];
  /** Real value of one unit of the logits. */
  readonly logitScale: number;
  /** Which kernels run: `relaxed-simd`, `simd128` or `portable`. */
  readonly kernels: string;
  /** What `setBits` takes for all layers: widths, then settings that have a name. Empty if the model does not switch. */
  readonly settings: readonly string[];
  /** In execution order. */
  readonly layers: readonly Layer[];
  readonly size: Size;
  /** The classes with the largest logits, best first; of equal ones the first. */
  classify(image: Picture, options?: { top?: number }): Guess[];
  /** One number for each class, the same to the bit as those of fgq on any other machine. */
  logits(image: Picture): Int32Array;
  /** Gives all layers that switch, or the one of that name, as many planes or bits; or all what a setting says. */
  setBits(bits: number | string, layer?: string): void;
  /** Milliseconds of a run, without preprocessing: the mean of `runs`. Each layer's `time` is its part of them. */
  profile(image: Picture, options?: { runs?: number }): number;
  /** Gives the memory back; nothing else can be called afterwards. */
  free(): void;
}

/** The fastest build that this engine runs. */
export function fastest(): Build;

/** Compiles a build of the runtime, for who stores it elsewhere than beside this module. */
export function compile(source: Bytes | URL): Promise<WebAssembly.Module>;

/** Loads a packed model. Bytes that are none are an error that says why. */
export function load(source: Bytes, options?: { runtime?: WebAssembly.Module }): Promise<Model>;
