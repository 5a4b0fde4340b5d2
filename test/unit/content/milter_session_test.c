/* Conversations with filters, as dialogues: what is sent, and what becomes of answers. A filter is written as
 * the commands that it expects and the packets that it answers with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/content/milter_session.h"

#include <stdio.h>
#include <string.h>

#define HEADER "Received: from us\r\nFrom: anna@example.com\r\nSubject: a\r\n b\r\n\r\n"

struct talk {
    struct milter_session s;
    struct milter_message m;
    struct milter_fields fields;
    struct buf script, out;
    char commands[400]; /* that were sent, a letter each; 'D' for macros too */
    size_t ncommands;
    struct buf last; /* data of the last packet that was no macros' */
    struct buf macros;
};

static void begin(struct talk *t, struct span body, bool offer_all)
{
    struct milter_about about = { .hostname = SPAN_LIT("mx.example.com"),
                                  .daemon = SPAN_LIT("submission"),
                                  .version = SPAN_LIT("Turnpike"),
                                  .client_name = SPAN_LIT("laptop.example.com"),
                                  .ip = SPAN_LIT("2001:db8::1"),
                                  .ip_v6 = true,
                                  .port = 0x1234,
                                  .helo = SPAN_LIT("laptop"),
                                  .tls_version = SPAN_LIT("TLSv1.3"),
                                  .cipher = SPAN_LIT("TLS_AES"),
                                  .cipher_bits = 256,
                                  .account = SPAN_LIT("anna@example.com"),
                                  .queue_id = SPAN_LIT("0123"),
                                  .mail_from = SPAN_LIT("anna@example.com") };
    *t = (struct talk){ .ncommands = 0 };
    buf_init(&t->script, MILTER_SCRIPT_MAX);
    buf_init(&t->out, MILTER_OUT_MAX);
    buf_init(&t->last, MILTER_DATA_MAX);
    buf_init(&t->macros, MILTER_DATA_MAX);
    assert_int_equal(milter_script_begin(&t->script, &about), 0);
    assert_int_equal(milter_script_rcpt(&t->script, SPAN_LIT("bob@example.net")), 0);
    assert_int_equal(milter_script_rcpt(&t->script, SPAN_LIT("eve\x01@example.net")), 0);
    assert_int_equal(milter_script_end(&t->script), 0);
    assert_int_equal(milter_fields_read(&t->fields, SPAN_LIT(HEADER)), 0);
    t->m = (struct milter_message){ buf_span(&t->script), &t->fields, body };
    milter_session_init(&t->s, offer_all);
    milter_session_begin(&t->s, &t->m);
}

static void end(struct talk *t)
{
    buf_fini(&t->script);
    buf_fini(&t->out);
    buf_fini(&t->last);
    buf_fini(&t->macros);
    milter_fields_fini(&t->fields);
}

static void read_out(struct talk *t)
{
    struct span rest = buf_span(&t->out), data;
    char command;
    while (milter_next(&rest, &command, &data) == 1) {
        assert_true(t->ncommands + 1 < sizeof t->commands);
        t->commands[t->ncommands++] = command;
        struct buf *to = command == MILTER_MACROS ? &t->macros : &t->last;
        buf_reset(to);
        assert_int_equal(buf_put_span(to, data), 0);
    }
    assert_int_equal(rest.n, 0);
    buf_reset(&t->out);
}

static void pump(struct talk *t)
{
    do {
        assert_int_equal(milter_session_pump(&t->s, &t->out), 0);
        read_out(t);
    } while (!t->s.waits && t->s.step < MILTER_STEP_LAST);
}

static enum milter_result say(struct talk *t, struct span packets)
{
    enum milter_result r = milter_session_take(&t->s, &packets);
    if (r == MILTER_MORE && !t->s.waits) {
        pump(t);
        if (packets.n > 0)
            return milter_session_take(&t->s, &packets);
    }
    return r;
}

#define OK "\0\0\0\1c"
#define NEGOTIATE(version, actions, protocol) SPAN_LIT("\0\0\0\15O\0\0\0" version "\0\0" actions protocol)

/* Says "continue" until it was sent `command` last. */
static void go_to(struct talk *t, char command)
{
    for (unsigned i = 0; i < 50 && t->s.last != command; i++)
        assert_int_equal(say(t, SPAN_LIT(OK)), MILTER_MORE);
    assert_int_equal(t->s.last, command);
    assert_true(t->s.waits);
}

static void open_talk(struct talk *t, struct span body)
{
    begin(t, body, false);
    pump(t);
    assert_int_equal(say(t, NEGOTIATE("\6", "\0\x31", "\0\0\0\0")), MILTER_MORE);
}

static void test_a_whole_one(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, SPAN_LIT("hello\r\n"), false);
    pump(&t);
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("\0\0\0\6\0\0\0\x31\0\x1f\xf7\xff")));
    assert_int_equal(say(&t, NEGOTIATE("\6", "\0\x31", "\0\0\0\0")), MILTER_MORE);
    assert_true(
        span_eq(buf_span(&t.macros),
                SPAN_LIT("Cj\0mx.example.com\0_\0laptop.example.com\0v\0Turnpike\0{daemon_name}\0submission\0"
                         "{client_addr}\0"
                         "2001:db8::1\0{client_name}\0laptop.example.com\0")));
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("laptop.example.com\0"
                                                    "6\x12\x34"
                                                    "2001:db8::1\0")));
    go_to(&t, 'H');
    assert_true(
        span_eq(buf_span(&t.macros), SPAN_LIT("H{tls_version}\0TLSv1.3\0{cipher}\0TLS_AES\0{cipher_bits}\0"
                                              "256\0")));
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("laptop\0")));
    go_to(&t, 'M');
    assert_true(span_eq(buf_span(&t.macros),
                        SPAN_LIT("Mi\0"
                                 "0123\0{auth_authen}\0anna@example.com\0{mail_addr}\0anna@example.com\0"
                                 "{mail_host}\0example.com\0")));
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("<anna@example.com>\0")));
    go_to(&t, 'R');
    assert_true(
        span_eq(buf_span(&t.macros), SPAN_LIT("R{rcpt_addr}\0bob@example.net\0{rcpt_host}\0example.net\0")));
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("<bob@example.net>\0")));
    go_to(&t, 'T');
    go_to(&t, 'L'); /* not our Received */
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("From\0anna@example.com\0")));
    assert_int_equal(say(&t, SPAN_LIT(OK)), MILTER_MORE);
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("Subject\0a\n b\0")));
    go_to(&t, 'B');
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("hello\r\n")));
    go_to(&t, 'E');
    assert_string_equal(t.commands, "ODCDHDMDRDRTLLNBE");
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\1p\0\0\0\10hX-A\0b c\0")),
                     MILTER_FAILED); /* a length that is not its own */
    end(&t);
}

static void test_what_it_leaves_out(void **state)
{
    (void)state;
    struct talk t;
    /* no connect, helo, rcpt; nothing answered but MAIL and the end */
    begin(&t, SPAN_LIT("hello\r\n"), false);
    pump(&t);
    assert_int_equal(say(&t, NEGOTIATE("\6", "\0\1", "\0\x0d\0\x8b")), MILTER_MORE);
    assert_string_equal(t.commands, "ODM");
    assert_int_equal(say(&t, SPAN_LIT(OK)), MILTER_MORE);
    assert_string_equal(t.commands, "ODMTLLNBE");
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\1a")), MILTER_DONE);
    assert_int_equal(t.s.answer.verdict, MILTER_ACCEPTED);
    end(&t);
    /* all of it left out; one of version 2, that knows of no DATA */
    begin(&t, SPAN_LIT("hello\r\n"), false);
    pump(&t);
    assert_int_equal(say(&t, NEGOTIATE("\2", "\0\0", "\0\0\0\x7f")), MILTER_MORE);
    assert_string_equal(t.commands, "OE");
    assert_int_equal(say(&t, SPAN_LIT(OK)), MILTER_DONE);
    assert_false(milter_session_again(&t.s, &t.out));
    end(&t);
}

static void test_body_in_pieces(void **state)
{
    (void)state;
    static char body[3 * MILTER_DATA_MAX + 7];
    struct talk t;
    memset(body, 'x', sizeof body);
    open_talk(&t, span_of(body, sizeof body));
    go_to(&t, 'E');
    assert_string_equal(t.commands, "ODCDHDMDRDRTLLNBBBBE");
    end(&t);
    begin(&t, span_of(body, sizeof body), false); /* unanswered: a buffer's fill at a time */
    pump(&t);
    assert_int_equal(say(&t, NEGOTIATE("\6", "\0\0", "\0\x0d\0\x2f")), MILTER_MORE);
    assert_string_equal(t.commands, "OTNBBBBE");
    end(&t);
    /* it has seen enough */
    begin(&t, span_of(body, sizeof body), false);
    pump(&t);
    assert_int_equal(say(&t, NEGOTIATE("\6", "\0\0", "\0\0\4\0")), MILTER_MORE);
    go_to(&t, 'B');
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\1s")), MILTER_MORE);
    assert_int_equal(t.s.last, 'E');
    assert_string_equal(t.commands, "ODCDHDMDRDRTLLNBE");
    end(&t);
}

/* At each step that it answers, each verdict. */
static void test_verdicts(void **state)
{
    const struct {
        struct span said;
        enum milter_verdict verdict;
        uint16_t code;
        const char *text;
    } t[] = {
        { SPAN_LIT("\0\0\0\1a"), MILTER_ACCEPTED, 0, "" },
        { SPAN_LIT("\0\0\0\1r"), MILTER_REJECTED, 0, "" },
        { SPAN_LIT("\0\0\0\1d"), MILTER_REJECTED, 0, "" },
        { SPAN_LIT("\0\0\0\1t"), MILTER_DEFERRED, 0, "" },
        { SPAN_LIT("\0\0\0\1"
                   "4"),
          MILTER_DEFERRED, 0, "" },
        { SPAN_LIT("\0\0\0\1f"), MILTER_DEFERRED, 0, "" },
        { SPAN_LIT("\0\0\0\x0ey550 5.7.1 no\0"), MILTER_REJECTED, 550, "no" },
        { SPAN_LIT("\0\0\0\x0ey451 4.7.1 no\0"), MILTER_DEFERRED, 451, "no" },
    };
    (void)state;
    for (const char *step = "CHMRTLNBE"; *step != '\0'; step++)
        for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
            struct talk talk;
            open_talk(&talk, SPAN_LIT("x\r\n"));
            go_to(&talk, *step);
            assert_int_equal(say(&talk, t[i].said), MILTER_DONE);
            assert_int_equal(talk.s.answer.verdict, t[i].verdict);
            assert_int_equal(talk.s.answer.code, t[i].code);
            assert_string_equal(talk.s.answer.text, t[i].text);
            assert_string_equal(talk.s.answer.rcpt,
                                *step == 'R' && t[i].verdict != MILTER_ACCEPTED ? "<bob@example.net>" : "");
            assert_false(milter_session_again(&talk.s, &talk.out));
            end(&talk);
        }
    struct talk talk;
    open_talk(&talk, SPAN_LIT("x\r\n"));
    go_to(&talk, 'R');
    assert_int_equal(say(&talk, SPAN_LIT(OK "\0\0\0\1r")), MILTER_DONE);
    assert_string_equal(talk.s.answer.rcpt, "<eve?@example.net>");
    end(&talk);
}

/* One that said "continue" to all of it is shown another one, without negotiating. */
static void test_another_one(void **state)
{
    (void)state;
    struct talk t;
    open_talk(&t, SPAN_LIT("x\r\n"));
    for (unsigned i = 0; i < 3; i++) {
        go_to(&t, 'E');
        assert_int_equal(say(&t, SPAN_LIT(OK)), MILTER_DONE);
        assert_int_equal(t.s.answer.verdict, MILTER_ACCEPTED);
        assert_true(milter_session_again(&t.s, &t.out));
        t.ncommands = 0;
        memset(t.commands, 0, sizeof t.commands);
        read_out(&t);
        milter_session_begin(&t.s, &t.m);
        pump(&t);
        assert_string_equal(t.commands, "KDC");
    }
    end(&t);
}

static void test_actions(void **state)
{
    (void)state;
    struct talk t;
    struct buf b;
    open_talk(&t, SPAN_LIT("x\r\n"));
    go_to(&t, 'E');
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\1p\0\0\0\7hX-A\0b\0")), MILTER_MORE);
    assert_true(t.s.progress);
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\x0bi\0\0\0\0X-B\0c\0")), MILTER_MORE);
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\x0em\0\0\0\1Subject\0\0"
                                      "\0\0\0\1c")),
                     MILTER_DONE);
    assert_true(t.s.answer.changed);
    buf_init(&b, 4096);
    assert_int_equal(milter_fields_put(&t.fields, &b), 0);
    assert_true(span_eq(buf_span(&b),
                        SPAN_LIT("X-B: c\r\nReceived: from us\r\nFrom: anna@example.com\r\nX-A: b\r\n\r\n")));
    buf_fini(&b);
    end(&t);
    open_talk(&t, SPAN_LIT("x\r\n"));
    go_to(&t, 'E');
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\6qwhy?\0"
                                      "\0\0\0\1a")),
                     MILTER_DONE);
    assert_int_equal(t.s.answer.verdict, MILTER_QUARANTINED);
    assert_string_equal(t.s.answer.text, "why?");
    end(&t);
    open_talk(&t, SPAN_LIT("x\r\n")); /* refused: then it is not kept */
    go_to(&t, 'E');
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\6qwhy?\0"
                                      "\0\0\0\1r")),
                     MILTER_DONE);
    assert_int_equal(t.s.answer.verdict, MILTER_REJECTED);
    end(&t);
}

static void test_what_is_not_done_here(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, SPAN_LIT("x\r\n"), true);
    pump(&t);
    assert_true(span_eq(buf_span(&t.last), SPAN_LIT("\0\0\0\6\0\0\0\xff\0\x1f\xf7\xff")));
    assert_int_equal(say(&t, NEGOTIATE("\6", "\0\xff", "\0\0\0\0")), MILTER_MORE);
    go_to(&t, 'E');
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\4+<a\0")), MILTER_MORE);
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\6qwhy?\0\0\0\0\1c")), MILTER_DONE);
    assert_int_equal(t.s.answer.verdict, MILTER_UNDOABLE);
    assert_string_equal(t.s.answer.text, "it wants to add a recipient");
    end(&t);
    open_talk(&t, SPAN_LIT("x\r\n")); /* one that does not care about what it was offered */
    go_to(&t, 'E');
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\2b\0\0\0\0\1c")), MILTER_DONE);
    assert_int_equal(t.s.answer.verdict, MILTER_UNDOABLE);
    assert_string_equal(t.s.answer.text, "it wants to replace the body");
    end(&t);
    begin(&t, SPAN_LIT("x\r\n"),
          false); /* nor says so; and is not heeded where it did not say what it does */
    pump(&t);
    assert_int_equal(say(&t, NEGOTIATE("\6", "\1\xce", "\x30\0\x08\0")), MILTER_MORE);
    go_to(&t, 'E');
    assert_int_equal(say(&t, SPAN_LIT("\0\0\0\7hX-A\0b\0")), MILTER_FAILED);
    assert_string_equal(t.s.why, "it does what was not negotiated");
    end(&t);
}

/* Whatever is said at the wrong time, or was not agreed on, ends it. */
static void test_wrong_answers(void **state)
{
    const struct {
        char step;
        struct span said;
        const char *why;
    } t[] = {
        { 'O', SPAN_LIT("\0\0\0\1c"), "it does not negotiate" },
        { 'O', SPAN_LIT("\0\0\0\5O\0\0\0\6"), "it sends a packet with parts missing" },
        { 'O', NEGOTIATE("\1", "\0\0", "\0\0\0\0"), "it speaks version 1 of the protocol" },
        { 'O', NEGOTIATE("\7", "\0\0", "\0\0\0\0"), "it speaks version 7 of the protocol" },
        { 'O', NEGOTIATE("\6", "\0\0", "\x11\0\0\0"),
          "it wants a protocol that is not offered (0x1000000)" },
        { 'M', NEGOTIATE("\6", "\0\0", "\0\0\0\0"), "it negotiates a second time" },
        { 'M', SPAN_LIT("\0\0\0\1s"), "it skips what is no body" },
        { 'B', SPAN_LIT("\0\0\0\1s"), "it skips what is no body" }, /* not negotiated */
        { 'M', SPAN_LIT("\0\0\0\7hX-A\0b\0"), "it changes a message that has not ended" },
        { 'L', SPAN_LIT("\0\0\0\2q\0"), "it changes a message that has not ended" },
        { 'E', SPAN_LIT("\0\0\0\7hX A\0b\0"), "it wants a field in the header that cannot stand there" },
        { 'E', SPAN_LIT("\0\0\0\5y250\0"), "its reply code is none" },
        { 'E', SPAN_LIT("\0\0\0\1z"), "it sends what no filter says" },
        { 'E', SPAN_LIT("\0\0\0\0"), "it sends a packet of an impossible length" },
        { 'E', SPAN_LIT("HTTP/1.1 400 Bad Request"), "it sends a packet of an impossible length" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct talk talk;
        if (t[i].step == 'O') {
            begin(&talk, SPAN_LIT("x\r\n"), false);
            pump(&talk);
        } else {
            open_talk(&talk, SPAN_LIT("x\r\n"));
            go_to(&talk, t[i].step);
        }
        assert_int_equal(say(&talk, t[i].said), MILTER_FAILED);
        assert_string_equal(talk.s.why, t[i].why);
        end(&talk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_one),           cmocka_unit_test(test_what_it_leaves_out),
        cmocka_unit_test(test_body_in_pieces),        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_another_one),           cmocka_unit_test(test_actions),
        cmocka_unit_test(test_what_is_not_done_here), cmocka_unit_test(test_wrong_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
