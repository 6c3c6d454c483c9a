// The list of videos on the page, newest first.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Card, type CardActions } from "./card";
import { byId } from "./dom";
import type { Video } from "./gen/reelmill/upload/v1/video_pb";
import type { LocalUpload } from "./uploads";

export class LibraryView {
  #cards = new Map<string, Card>();
  #list = byId("videos");
  #empty = byId("empty");
  #actions: CardActions;
  #uploadOf: (name: string) => LocalUpload | undefined;
  #loaded = false;

  constructor(uploadOf: (name: string) => LocalUpload | undefined, actions: CardActions) {
    this.#uploadOf = uploadOf;
    this.#actions = actions;
  }

  show(video: Video): void {
    let card = this.#cards.get(video.name);
    if (!card) {
      card = new Card(video, this.#actions);
      this.#cards.set(video.name, card);
      this.#list.insertBefore(card.element, this.#firstOlder(video));
    }
    card.update(video, this.#uploadOf(video.name));
    this.#showEmpty();
  }

  /** Updates a card after a change of its local upload. */
  refresh(name: string): void {
    const card = this.#cards.get(name);
    card?.update(card.video, this.#uploadOf(name));
  }

  remove(name: string): void {
    this.#cards.get(name)?.element.remove();
    this.#cards.delete(name);
    this.#showEmpty();
  }

  /** The initial list is complete: from now on the view says so if it is empty. */
  markLoaded(): void {
    this.#loaded = true;
    this.#showEmpty();
  }

  clear(): void {
    this.#loaded = false;
    this.#cards.clear();
    this.#list.replaceChildren();
    this.#showEmpty();
  }

  #firstOlder(video: Video): HTMLElement | null {
    const created = createdAt(video);
    let best: Card | undefined;
    for (const card of this.#cards.values()) {
      if (card.video.name === video.name || createdAt(card.video) >= created) continue;
      if (!best || createdAt(card.video) > createdAt(best.video)) best = card;
    }
    return best?.element ?? null;
  }

  #showEmpty(): void {
    this.#empty.hidden = !this.#loaded || this.#cards.size > 0;
  }
}

function createdAt(video: Video): number {
  return video.createTime ? timestampMs(video.createTime) : 0;
}
