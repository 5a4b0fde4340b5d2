/* Enhanced status codes from basic ones, by what RFC 3463, RFC 5248 and common servers use. Any thread. */
#include "node/mail/status.h"

#include <stdbool.h>
#include <stddef.h>

/* The last two numbers, by the last two digits of the code; the first match counts. */
static const struct {
    unsigned last; /* code % 100 */
    bool rcpt;     /* only as an answer to RCPT */
    uint8_t subject, detail;
} known[] = {
    { 0, false, 5, 2 },   /* 500: syntax */
    { 1, false, 5, 4 },   /* 501: arguments; 451 is apart */
    { 2, false, 5, 1 },   /* 502: not implemented */
    { 3, false, 5, 1 },   /* 503: sequence */
    { 4, false, 5, 4 },   /* 504: parameter not implemented */
    { 21, false, 3, 2 },  /* 421, 521: no service */
    { 30, false, 7, 0 },  /* 530: authentication required */
    { 34, false, 7, 9 },  /* 534: mechanism too weak */
    { 35, false, 7, 8 },  /* 535: credentials */
    { 38, false, 7, 11 }, /* 538: encryption required */
    { 50, true, 1, 1 },   /* 550: no such mailbox; 450 is apart */
    { 51, true, 1, 6 },   /* 551: moved */
    { 52, true, 2, 2 },   /* 552: mailbox full; 452 is apart */
    { 52, false, 3, 4 },  /* 552: message too big */
    { 53, true, 1, 3 },   /* 553: address syntax */
    { 53, false, 1, 7 },  /* 553 to MAIL: sender's address */
    { 54, true, 7, 1 },   /* 554: mostly "relay access denied" */
    { 55, false, 5, 4 },  /* 555: parameters */
    { 56, false, 1, 10 }  /* 556: null MX */
};

static void set(uint8_t status[3], unsigned class, unsigned subject, unsigned detail)
{
    status[0] = (uint8_t) class;
    status[1] = (uint8_t)subject;
    status[2] = (uint8_t)detail;
}

void mail_status_derive(unsigned code, enum smtp_client_stage stage, uint8_t status[3])
{
    bool rcpt = stage == SMTP_CLIENT_STAGE_RCPT;
    unsigned class = code / 100;
    if (code == 0) {
        set(status, 4, 4, stage == SMTP_CLIENT_STAGE_CONNECT ? 1 : 2);
    } else if (class == 2) {
        set(status, 2, rcpt ? 1 : 0, rcpt ? 5 : 0);
    } else if (class != 4 && class != 5) {
        set(status, 5, 5, 0); /* nothing that SMTP knows */
    } else if (stage == SMTP_CLIENT_STAGE_BANNER) {
        set(status, class, 3, 2);
    } else if (code == 450 || code == 451) {
        set(status, 4, code == 450 && rcpt ? 2 : code == 451 ? 3 : 0, 0);
    } else if (code == 452) {
        set(status, 4, rcpt ? 5 : 3, rcpt ? 3 : 1); /* RFC 5321 section 4.5.3.1.10: too many recipients */
    } else if (code == 454) {
        set(status, 4, 7, 0); /* TLS or AUTH for a while not available */
    } else {
        set(status, class, 0, 0);
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            if (known[i].last == code % 100 && (rcpt || !known[i].rcpt)) {
                set(status, class, known[i].subject, known[i].detail);
                break;
            }
        }
    }
}
