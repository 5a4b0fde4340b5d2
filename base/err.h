/* Error codes.
 *
 * An operation returns 0 (or a count) or a negative code. Codes down to -4095 are -errno, which on Linux is
 * what libuv uses too; ours start below that. Any thread.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err {
    ERR_TORN = -20001,      /* input ends before the value does: need more, or a torn record */
    ERR_CORRUPT = -20002,   /* stored bytes fail their check */
    ERR_BAD = -20003,       /* malformed input */
    ERR_LIMIT = -20004,     /* a bounded table, queue or buffer is full */
    ERR_NOT_FOUND = -20005, /* no such thing */
    ERR_EXISTS = -20006,    /* there is one already */
    ERR_BUSY = -20007,      /* not now: try again when told */
    ERR_DISK_FULL = -20008, /* no room kept for this */
    ERR_CLOSED = -20009,    /* the other side, or we, ended it */
    ERR_DENIED = -20010,    /* not allowed */
    ERR_TIMEOUT = -20011,   /* a deadline passed */
    ERR_FAILED = -20012,    /* a library failed; the log has its words */
};

/* A short lower-case text for any code; never NULL. */
const char *err_text(int err);

#endif
