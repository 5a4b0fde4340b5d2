/* What the messages say: see traffic.h. Sentences with gaps, drawn by the text's seed; the same seed gives
 * the same sentences with other names and numbers.
 */
#include "traffic.h"

#include "base/ensure.h"

#include <string.h>

enum { RNG_TEXT = 60, RNG_DETAIL };

#define COUNT(list) (uint32_t)(sizeof(list) / sizeof(list)[0])

static const char *const nouns[] = {
    "report",    "contract",   "drawing",     "offer",      "meeting",  "budget",    "order",    "delivery",
    "project",   "customer",   "server",      "printer",    "office",   "car",       "holiday",  "school",
    "garden",    "kitchen",    "concert",     "train",      "flight",   "hotel",     "invoice",  "payment",
    "tax",       "insurance",  "doctor",      "birthday",   "dinner",   "lunch",     "coffee",   "book",
    "film",      "photo",      "version",     "release",    "test",     "database",  "backup",   "password",
    "account",   "website",    "brochure",    "catalogue",  "sample",   "machine",   "tool",     "engine",
    "warehouse", "truck",      "supplier",    "price",      "discount", "margin",    "plan",     "schedule",
    "deadline",  "interview",  "applicant",   "colleague",  "team",     "training",  "workshop", "table",
    "chair",     "window",     "door",        "roof",       "wall",     "floor",     "heating",  "pump",
    "valve",     "cable",      "battery",     "sensor",     "display",  "keyboard",  "phone",    "camera",
    "ticket",    "letter",     "parcel",      "signature",  "document", "form",      "list",     "table",
    "figure",    "chapter",    "translation", "article",    "review",   "comment",   "question", "answer",
    "problem",   "solution",   "idea",        "weather",    "river",    "mountain",  "village",  "museum",
    "theatre",   "bicycle",    "match",       "tournament", "choir",    "orchestra", "lesson",   "exam",
    "lecture",   "laboratory", "patient",     "hospital",   "court",    "permit",    "licence",  "audit",
    "board",     "minutes",    "agenda",      "slides",     "keynote",  "booth",
};
static const char *const verbs[] = {
    "send",    "check",   "finish",  "change",  "move",    "cancel",  "confirm",   "discuss", "prepare",
    "sign",    "return",  "repair",  "order",   "book",    "print",   "read",      "write",   "update",
    "compare", "explain", "review",  "correct", "pay",     "collect", "bring",     "find",    "replace",
    "install", "test",    "measure", "close",   "open",    "plan",    "paint",     "clean",   "store",
    "deliver", "offer",   "accept",  "refuse",  "forward", "answer",  "translate", "copy",
};
static const char *const adjectives[] = {
    "new",   "old",     "small",  "large",     "final",    "first",     "second",  "next",
    "late",  "early",   "cheap",  "expensive", "good",     "better",    "red",     "green",
    "blue",  "white",   "heavy",  "light",     "open",     "closed",    "long",    "short",
    "quick", "slow",    "clear",  "strange",   "nice",     "local",     "foreign", "empty",
    "full",  "revised", "signed", "missing",   "broken",   "wrong",     "right",   "urgent",
    "usual", "special", "quiet",  "busy",      "friendly", "technical", "legal",   "annual",
};
static const char *const times[] = {
    "tomorrow",       "on Monday",   "on Tuesday",  "on Wednesday",
    "on Thursday",    "on Friday",   "next week",   "this afternoon",
    "this morning",   "after lunch", "in March",    "in two weeks",
    "at the weekend", "tonight",     "before noon", "by the end of the month",
};
static const char *const people[] = {
    "Anna",  "Tom",  "Maria", "John",  "Yuki", "Peter",  "Laura", "Ken",
    "Sofia", "Paul", "Emma",  "David", "Nina", "Oliver", "Kate",  "Hiro",
    "Clara", "Max",  "Julia", "Felix", "Aiko", "Robert", "Lena",  "George",
};
/* %n noun, %v verb, %a adjective, %t time, %p person, %# number */
static const char *const sentences[] = {
    "could you please %v the %a %n %t?",
    "I will %v the %n and the %a %n %t.",
    "the %n from %p is still %a.",
    "we have to %v the %n before %p can %v the %a one.",
    "thank you for the %a %n.",
    "please find the %n attached.",
    "%p asked whether the %n is %a enough for the %n.",
    "did you already %v the %n that %p mentioned?",
    "the %a %n costs %# more than the last one.",
    "let us %v it %t.",
    "I am not sure about the %n on page %#.",
    "our %n does not fit the %a %n any more.",
    "%p and %p want to %v the %n %t.",
    "there is a %a problem with the %n.",
    "nobody told me that the %n was %a.",
    "have a look at the %n, it is much too %a.",
    "if it rains we %v the %n instead.",
    "the %n arrives %t, so we can %v it then.",
    "I spoke to %p about the %a %n.",
    "how long does it take to %v a %n like that?",
    "as far as I know the %n was %a last year.",
    "we sold %# of them, mostly the %a ones.",
    "please do not %v the %n yet.",
    "my %n broke, can I use yours %t?",
    "the %a %n is behind schedule because of the %n.",
    "sorry for the %a answer.",
    "it would help to %v the %n first and %v the rest later.",
    "%p is ill, so I will %v the %n.",
    "see you %t at the %n.",
    "what do you think of the %a %n?",
    "I moved the %n to %t.",
    "the children liked the %n very much.",
    "we need %# of the %a ones for the %n.",
    "who can %v the %n while %p is away?",
    "the %n is in the %a %n.",
    "the second %n looks %a, but the first one is cheaper.",
    "could we meet %t to %v the %n?",
    "the rest is as we said.",
    "that is fine with me.",
    "I agree with %p about the %n.",
    "yes, %t is good.",
    "no, the %n is too %a for that.",
    "remind me to %v the %n %t.",
    "this is the %a version of the %n.",
    "the bank wants to see the %n and the %a %n.",
    "there are %# people in the %n group now.",
    "I have never seen such a %a %n.",
    "when does the %n start?",
    "our guests come %t, the %n must be %a by then.",
    "the supplier will %v the %a %n free of charge.",
};
static const char *const closings[] = { "Best regards", "Thanks",  "Cheers", "See you",
                                        "Yours",        "Regards", "Bye" };

static const char *pick(struct traffic_rng *r, const char *const *list, uint32_t n)
{
    return list[traffic_below(r, n)];
}

/* What is the same in all copies comes from `r`, names and numbers from `detail`. */
static void fill(struct buf *out, const char *frame, struct traffic_rng *r, struct traffic_rng *detail)
{
    for (; *frame != '\0'; frame++) {
        if (*frame != '%') {
            (void)buf_put_u8(out, (uint8_t)*frame);
            continue;
        }
        switch (*++frame) {
        case 'n':
            (void)buf_put_str(out, pick(r, nouns, COUNT(nouns)));
            break;
        case 'v':
            (void)buf_put_str(out, pick(r, verbs, COUNT(verbs)));
            break;
        case 'a':
            (void)buf_put_str(out, pick(r, adjectives, COUNT(adjectives)));
            break;
        case 't':
            (void)buf_put_str(out, pick(r, times, COUNT(times)));
            break;
        case 'p':
            (void)buf_put_str(out, pick(r, people, COUNT(people)));
            break;
        default:
            (void)buf_printf(out, "%u", traffic_below(detail, 100000));
        }
    }
}

static void say(struct buf *out, struct traffic_rng *r, struct traffic_rng *detail, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        fill(out, pick(r, sentences, COUNT(sentences)), r, detail);
        (void)buf_put_str(out, i % 2 == 0 ? " " : "\r\n");
    }
}

static void head(struct buf *out, struct traffic_rng *r, struct traffic_rng *detail, const char *subject,
                 const char *type)
{
    (void)buf_put_str(out, "Subject: ");
    fill(out, subject, r, detail);
    (void)buf_printf(out, "\r\nMIME-Version: 1.0\r\nContent-Type: %s\r\n\r\n", type);
}

static void note(struct buf *out, uint32_t sender, struct traffic_rng *r, struct traffic_rng *detail,
                 bool reply)
{
    uint32_t how = traffic_below(r, 10), n = how < 3   ? 1
                                             : how < 8 ? traffic_between(r, 2, 5)
                                                       : traffic_between(r, 5, 14);
    head(out, r, detail, reply ? "Re: %a %n" : "%n %t", "text/plain; charset=utf-8");
    if (traffic_chance(r, 700)) {
        const char *greeting = traffic_chance(r, 500) ? "Hi" : "Dear";
        (void)buf_printf(out, "%s %s,\r\n", greeting, pick(r, people, COUNT(people)));
    }
    say(out, r, detail, n);
    (void)buf_printf(out, "\r\n%s\r\n", closings[sender % COUNT(closings)]);
    if (reply) {
        const char *when = pick(r, times, COUNT(times));
        (void)buf_printf(out, "\r\nOn %s %s wrote:\r\n> ", when, pick(r, people, COUNT(people)));
        fill(out, pick(r, sentences, COUNT(sentences)), r, detail);
        (void)buf_put_str(out, "\r\n");
    }
    (void)buf_printf(out, "\r\n-- \r\n%s\r\nSome Company %u, Main Street %u\r\n",
                     people[sender % COUNT(people)], sender, sender % 90);
}

/* A page of HTML of its own, with the reader's name in it. */
static void issue(struct buf *out, struct traffic_rng *r, struct traffic_rng *detail)
{
    head(out, r, detail, "News: %a %n and %a %n", "text/html; charset=utf-8");
    (void)buf_printf(out, "<html><body><h1>News</h1><p>Dear %s,</p>\r\n",
                     pick(detail, people, COUNT(people)));
    for (uint32_t i = 0; i < 5; i++) {
        (void)buf_put_str(out, "<p style=\"color: black\">");
        say(out, r, detail, 4);
        (void)buf_printf(out, "<a href=\"https://news.example/%u\">more</a></p>\r\n",
                         traffic_below(detail, 1u << 30));
    }
    (void)buf_put_str(out, "</body></html>\r\n");
}

static void form(struct buf *out, struct traffic_rng *r, struct traffic_rng *detail, const char *subject,
                 uint32_t n)
{
    head(out, r, detail, subject, "text/plain; charset=utf-8");
    const char *first = pick(detail, people, COUNT(people)), *last = pick(detail, people, COUNT(people));
    (void)buf_printf(out, "Dear %s %s,\r\n", first, last);
    say(out, r, detail, n);
    uint32_t number = traffic_below(detail, 100000), amount = traffic_below(detail, 90000);
    (void)buf_printf(out, "\r\nNumber: %u\r\nAmount: %u.%02u\r\nhttps://www.example.com/%u\r\n", number,
                     amount / 100, amount % 100, traffic_below(detail, 1u << 30));
}

/* The same offer in other words: here and there another sentence. */
static void spam(struct buf *out, struct traffic_rng *r, struct traffic_rng *detail)
{
    head(out, r, detail, "%a %n for you", "text/plain");
    say(out, r, detail, 4);
    say(out, detail, detail, 1);
    uint32_t host = traffic_below(detail, 1u << 20);
    (void)buf_printf(out, "\r\nhttps://x%u.example/%u\r\n", host, traffic_below(detail, 1u << 30));
}

static void alert(struct buf *out, struct traffic_rng *r, struct traffic_rng *detail)
{
    head(out, r, detail, "PROBLEM: %n is %a", "text/plain");
    uint32_t host = traffic_below(detail, 200), since = traffic_below(detail, 900);
    (void)buf_printf(out, "Host %u, service %s, since %u s\r\n", host, pick(r, nouns, COUNT(nouns)), since);
    say(out, r, detail, 1);
}

static void ordered(struct buf *out, struct traffic_rng *detail)
{
    for (uint32_t i = traffic_between(detail, 1, 6); i > 0; i--) {
        const char *which = pick(detail, adjectives, COUNT(adjectives));
        (void)buf_printf(out, "%u x %s %s\r\n", i, which, pick(detail, nouns, COUNT(nouns)));
    }
}

void traffic_text_put(const struct traffic *t, const struct traffic_event *e, struct buf *out)
{
    struct traffic_rng r = traffic_rng(t->seed, RNG_TEXT, e->text_seed);
    struct traffic_rng detail = traffic_rng(t->seed, RNG_DETAIL, (uint64_t)e->first << 8 | e->text);
    ensure(e->kind == TRAFFIC_MAIL);
    switch ((enum traffic_text)e->text) {
    case TRAFFIC_TEXT_NOTE:
    case TRAFFIC_TEXT_REPLY:
        note(out, e->sender, &r, &detail, e->text == TRAFFIC_TEXT_REPLY);
        break;
    case TRAFFIC_TEXT_INVITATION:
        head(out, &r, &detail, "Invitation: %n %t", "text/plain; charset=utf-8");
        say(out, &r, &detail, 3);
        break;
    case TRAFFIC_TEXT_AWAY:
        head(out, &r, &detail, "Out of office", "text/plain");
        say(out, &r, &detail, 2);
        (void)buf_put_str(out, "I am out of the office and will answer when I am back.\r\n");
        break;
    case TRAFFIC_TEXT_SCAN:
        (void)buf_put_str(
            out, "Subject: \r\nMIME-Version: 1.0\r\nContent-Type: application/pdf\r\n"
                 "Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoK\r\n");
        break;
    case TRAFFIC_TEXT_ALERT:
        alert(out, &r, &detail);
        break;
    case TRAFFIC_TEXT_ORDER:
        form(out, &r, &detail, "Your order %#", 5);
        ordered(out, &detail);
        break;
    case TRAFFIC_TEXT_SIGNUP:
        form(out, &r, &detail, "Confirm your address", 4);
        break;
    case TRAFFIC_TEXT_TICKET:
        form(out, &r, &detail, "Ticket %#: %a %n", traffic_between(&r, 2, 7));
        (void)buf_put_str(
            out, "Please do not change the subject when you answer. Our help desk is open from 8 to 18.\r\n");
        break;
    case TRAFFIC_TEXT_INVOICE:
        form(out, &r, &detail, "Invoice %#", 6);
        break;
    case TRAFFIC_TEXT_ISSUE:
        issue(out, &r, &detail);
        break;
    case TRAFFIC_TEXT_SPAM:
        spam(out, &r, &detail);
        break;
    }
}
