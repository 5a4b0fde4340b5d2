/* Packets of the milter protocol, version 6, as the mail server's side writes and reads them: a length of
 * four octets, a command, its data. No text of it is a standard; libmilter, the filters' side in sendmail, is
 * what filters are made with. What a filter sends is taken as an attacker's: bounded, and nothing of it
 * reaches a reply or a header unless it was checked. Pure.
 */
#ifndef NODE_CONTENT_MILTER_PACKET_H
#define NODE_CONTENT_MILTER_PACKET_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

#define MILTER_VERSION 6u
#define MILTER_VERSION_OLDEST 2u
#define MILTER_DATA_MAX 65535u /* octets of a packet behind its command, both ways */
#define MILTER_TEXT_MAX 200
#define MILTER_FIELD_NAME_MAX 200u

/* Our commands, by the octet that goes on the wire. */
enum milter_command {
    MILTER_BODY = 'B',
    MILTER_CONNECT = 'C',
    MILTER_MACROS = 'D', /* no step of its own: what the step after it comes with */
    MILTER_BODY_END = 'E',
    MILTER_HELO = 'H',
    MILTER_NEXT_CONNECTION =
        'K', /* SMFIC_QUIT_NC: this one has ended, the next one comes on the same socket */
    MILTER_FIELD = 'L',
    MILTER_MAIL = 'M',
    MILTER_HEADER_END = 'N',
    MILTER_NEGOTIATE = 'O',
    MILTER_QUIT = 'Q',
    MILTER_RCPT = 'R',
    MILTER_DATA = 'T'
};

/* What a filter may do at the end of a message (SMFIF_). */
enum {
    MILTER_DOES_ADD = 1u << 0,
    MILTER_DOES_BODY = 1u << 1,
    MILTER_DOES_ADD_RCPT = 1u << 2,
    MILTER_DOES_DELETE_RCPT = 1u << 3,
    MILTER_DOES_CHANGE = 1u << 4,
    MILTER_DOES_QUARANTINE = 1u << 5,
    MILTER_DOES_SENDER = 1u << 6,
    MILTER_DOES_ADD_RCPT_ARGS = 1u << 7,
    MILTER_DOES_SET_MACROS = 1u << 8
};

/* Which steps it wants to be left out, and which it does not answer (SMFIP_). */
enum {
    MILTER_NO_CONNECT = 1u << 0,
    MILTER_NO_HELO = 1u << 1,
    MILTER_NO_MAIL = 1u << 2,
    MILTER_NO_RCPT = 1u << 3,
    MILTER_NO_BODY = 1u << 4,
    MILTER_NO_FIELDS = 1u << 5,
    MILTER_NO_HEADER_END = 1u << 6,
    MILTER_MUTE_FIELD = 1u << 7,
    MILTER_NO_UNKNOWN = 1u << 8,
    MILTER_NO_DATA = 1u << 9,
    MILTER_SKIPS = 1u << 10,        /* it may have seen enough of the body */
    MILTER_SEES_REFUSED = 1u << 11, /* recipients that were refused: there are none here */
    MILTER_MUTE_CONNECT = 1u << 12,
    MILTER_MUTE_HELO = 1u << 13,
    MILTER_MUTE_MAIL = 1u << 14,
    MILTER_MUTE_RCPT = 1u << 15,
    MILTER_MUTE_DATA = 1u << 16,
    MILTER_MUTE_UNKNOWN = 1u << 17,
    MILTER_MUTE_HEADER_END = 1u << 18,
    MILTER_MUTE_BODY = 1u << 19,
    MILTER_LARGE_BODY = 3u << 28, /* pieces of 256 KiB or 1 MiB would do, too */
    MILTER_HARMLESS =
        MILTER_SEES_REFUSED | MILTER_LARGE_BODY, /* whoever asks for these needs nothing of us */
    MILTER_LEADING_BLANK = 1u << 20 /* values of fields come and go with the blank behind the colon */
};

/* ---- written ------------------------------------------------------------------------------------------- */

/* A packet of one piece; ERR_LIMIT where it would be longer than MILTER_DATA_MAX, else the buffer's error. */
int milter_put(struct buf *out, enum milter_command command, struct span data);
/* Text, with the NUL that ends it: what would be one inside becomes a question mark. */
int milter_put_text(struct buf *out, struct span text);
/* Big-endian. */
int milter_put_u32(struct buf *out, uint32_t v);

/* ---- read ---------------------------------------------------------------------------------------------- */

/* A whole packet of ours or theirs: 1 and *in moves on; 0: more must come; ERR_BAD: its length cannot be. */
int milter_next(struct span *in, char *command, struct span *data);

enum milter_reply_kind {
    MILTER_SAYS_CONTINUE,
    MILTER_SAYS_ACCEPT,
    MILTER_SAYS_REJECT,
    MILTER_SAYS_TEMPFAIL,
    MILTER_SAYS_DISCARD,
    MILTER_SAYS_CODE,     /* code, enhanced, text */
    MILTER_SAYS_SHUTDOWN, /* the connection should end, with 421 */
    MILTER_SAYS_SKIP,
    MILTER_SAYS_PROGRESS,
    MILTER_SAYS_NEGOTIATE,  /* version, actions, protocol */
    MILTER_SAYS_ADD,        /* name, value */
    MILTER_SAYS_INSERT,     /* index, name, value */
    MILTER_SAYS_CHANGE,     /* index, name, value */
    MILTER_SAYS_QUARANTINE, /* text */
    MILTER_SAYS_BODY,       /* these are known, and not done */
    MILTER_SAYS_ADD_RCPT,
    MILTER_SAYS_ADD_RCPT_ARGS,
    MILTER_SAYS_DELETE_RCPT,
    MILTER_SAYS_SENDER
};

struct milter_reply {
    enum milter_reply_kind kind;
    uint32_t version, actions, protocol;
    uint32_t index;
    struct span name, value;    /* without NUL; as they were sent otherwise. In the packet's memory */
    uint16_t code;              /* 400..599 */
    char enhanced[12];          /* of the code's class; empty: none was given */
    char text[MILTER_TEXT_MAX]; /* printable ASCII, of one line; may be empty */
};

/* Of a whole packet. 0, or ERR_BAD with `why` in words. */
int milter_reply_read(char command, struct span data, struct milter_reply *out, const char **why);

/* A copy that is printable ASCII, cut at `cap` - 1. */
void milter_copy_text(char *to, size_t cap, struct span from);

#endif
