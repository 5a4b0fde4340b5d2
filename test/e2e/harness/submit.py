"""Clients that submit mail as an account's own do: each from a place of its own, many at once."""
import smtplib
import ssl
import threading

from .node import PASSWORD


def session(node, login, place="127.0.0.1"):
    """A client at that address, logged in."""
    client = smtplib.SMTP("127.0.0.1", node.ports["submission"], timeout=60, source_address=(place, 0))
    client._host = "localhost"
    client.starttls(context=ssl.create_default_context(cafile=str(node.certificate[0])))
    client.ehlo("client.example.com")
    client.login(login, PASSWORD)
    return client


def submit_all(sessions, numbers, login, message):
    """One message for each number, all sessions at once: each is opened by a call in a thread of its own, and takes the
    next number. `message` makes the recipient and the text for one. The numbers that were accepted, and (number or
    None, reply or error) of what was not."""
    numbers, lock, accepted, failures = iter(numbers), threading.Lock(), [], []

    def submit(client, number):
        recipient, text = message(number)
        client.mail(login)
        code, reply = client.rcpt(recipient)
        if code == 250:
            code, reply = client.data(text)
        else:
            client.rset()
        with lock:
            if code == 250:
                accepted.append(number)
            else:
                failures.append((number, reply))

    def work(connect):
        try:
            with connect() as client:
                while True:
                    with lock:
                        number = next(numbers, None)
                    if number is None:
                        return
                    submit(client, number)
        except (smtplib.SMTPException, OSError) as e:
            with lock:
                failures.append((None, e))
    workers = [threading.Thread(target=work, args=(connect,)) for connect in sessions]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return accepted, failures
