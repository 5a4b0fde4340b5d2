/* Why mail was refused: a reply (or what a bounce quotes of one) in one of a few classes that an operator can
 * act upon. The same classes count for what a next hop says at once and for bounces that come later. Pure.
 *
 * The rules are data (rules.c): patterns of meaning, each a few groups of words of which one of each group
 * must occur, tried in order; then the enhanced status code (RFC 3463), then the basic code. Words are
 * stronger than codes, because most servers say 5.7.1 to everything.
 */
#ifndef NODE_BOUNCE_CLASS_H
#define NODE_BOUNCE_CLASS_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum bounce_class {
    BOUNCE_OTHER,
    BOUNCE_UNKNOWN_USER, /* the mailbox does not exist, or not any more */
    BOUNCE_MAILBOX_FULL,
    BOUNCE_POLICY, /* authentication, reverse DNS, TLS, a rule of the receiver */
    BOUNCE_BLOCK,  /* our address, or our name, is listed or of bad repute */
    BOUNCE_CONTENT,
    BOUNCE_GREYLIST,
    BOUNCE_RATE,
    BOUNCE_RELAY_DENIED,
    BOUNCE_DNS,     /* no such domain, or none that takes mail */
    BOUNCE_EXPIRED, /* tried until it was too old */
    BOUNCE_CLASSES
};

struct bounce_reply {
    unsigned code;     /* 250, 550, ...; 0: there was none */
    uint8_t status[3]; /* 5.1.1; 0.0.0: there was none */
    struct span text;  /* with or without the codes in front */
};

#define BOUNCE_TEXT_MAX 1024 /* of a text: what is looked at */

enum bounce_class bounce_classify(const struct bounce_reply *r);
/* "unknown_user": in events, metrics and lists. */
const char *bounce_class_name(enum bounce_class c);
/* "unknown user": in sentences. */
const char *bounce_class_words(enum bounce_class c);
/* ERR_NOT_FOUND */
int bounce_class_named(struct span name, enum bounce_class *out);

/* Finds the codes in a text such as "smtp; 550-5.1.1 no such user" or "host mx said: 550 5.1.1 ...". What is
 * not found is 0. `out->text` is the text. */
void bounce_reply_read(struct span text, struct bounce_reply *out);

/* Refused for good: by the enhanced code, else by the basic one. */
bool bounce_is_hard(const struct bounce_reply *r);
/* The address itself is dead, so that no further mail should go there: a permanent refusal that is about the
 * mailbox or its domain (5.1.x). */
bool bounce_is_dead(const struct bounce_reply *r, enum bounce_class c);

#endif
