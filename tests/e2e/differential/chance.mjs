// Chance that can be repeated: a seed and an index always give the same request.

/** A source of chance. */
export class Chance {
  #state;

  constructor(seed, index) {
    let hash = 0x811c9dc5;
    for (const character of `${seed}/${index}`) {
      hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
    }
    this.#state = hash >>> 0;
    for (let warm = 0; warm < 4; warm += 1) this.fraction();
  }

  /** At least 0 and less than 1 (mulberry32). */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** True so often. */
  maybe(probability) {
    return this.fraction() < probability;
  }

  /** One of a list. */
  pick(list) {
    return list[Math.floor(this.fraction() * list.length)];
  }

  /** One of a list of pairs: how often, and what. */
  weighted(pairs) {
    let left = this.fraction() * pairs.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, value] of pairs) {
      left -= weight;
      if (left < 0) return value;
    }
    return pairs.at(-1)[1];
  }

  /** A list in another order. */
  shuffled(list) {
    const rest = [...list];
    const mixed = [];
    while (rest.length > 0) mixed.push(...rest.splice(Math.floor(this.fraction() * rest.length), 1));
    return mixed;
  }
}
