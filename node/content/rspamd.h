/* What rspamd is told of a message besides its bytes, and what it answers: the headers and the JSON of its
 * /checkv2 (https://docs.rspamd.com/developers/protocol). Bounded, whatever the server says. Pure.
 */
#ifndef NODE_CONTENT_RSPAMD_H
#define NODE_CONTENT_RSPAMD_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

#define RSPAMD_PATH "/checkv2"
#define RSPAMD_RCPTS_MAX 100           /* that it is told of */
#define RSPAMD_VALUE_MAX 512           /* bytes of a header's value: longer ones are cut */
#define RSPAMD_ABOUT_MAX (128u << 10)  /* bytes of all headers */
#define RSPAMD_ANSWER_MAX (512u << 10) /* bytes of an answer */
#define RSPAMD_DEPTH_MAX 32            /* of its JSON */

struct rspamd_about {      /* empty: not known, and not told */
    struct span mail_from; /* empty: the null reverse-path */
    const struct span *rcpts;
    uint32_t nrcpts;
    struct span ip, helo, client_name, user, queue_id;
};
/* Appends "Name: value\n" lines. The buffer's error. */
int rspamd_put_about(struct buf *out, const struct rspamd_about *about);

enum rspamd_action {
    RSPAMD_NO_ACTION,
    RSPAMD_GREYLIST,
    RSPAMD_ADD_HEADER, /* and "rewrite subject" */
    RSPAMD_SOFT_REJECT,
    RSPAMD_REJECT, /* and "discard": nobody's mail vanishes without a word */
    RSPAMD_OTHER   /* of an operator's own */
};

struct rspamd_answer {
    enum rspamd_action action;
    char name[32];          /* of the action, as it was sent */
    double score, required; /* within +-99999 */
    char symbols[160];      /* the heaviest against it, with blanks between */
    char message[160];      /* what it wants the client to be told; empty: nothing */
};
/* Texts in `out` are printable ASCII. 0 or ERR_BAD: no answer of rspamd's; -ENOMEM. */
int rspamd_answer_parse(struct span json, struct rspamd_answer *out);

#endif
