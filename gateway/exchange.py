"""ONE EXCHANGE, top to bottom: whole or streamed, every dialect, with or without a session.

recalled -> planned -> answered -> relayed -> settled. The walker of the plan makes no choices, and whole and
streamed replies settle in one place.
"""

import asyncio

from gateway.arrivals import following, prime, raise_failure
from gateway.ask import Answer, Arrival, Ask, Gateway, Open, Outlet, Passage, reply_head
from gateway.conversation import Reply, ReplyBuilder, events_of
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.fleet.fleet import Trial
from gateway.metrics import Record
from gateway.patience import patiently
from gateway.routing.health import is_fault_of_request, more_useful
from gateway.routing.plan import Wish, plan, refused, seat_after
from gateway.routing.prices import priced
from gateway.routing.table import Route, may_use
from gateway.sessions.fitting import Fitting
from gateway.sessions.memory import Answered, Recall
from gateway.sessions.store import Pin
from gateway.upstream import read
from gateway.watch import Watch


async def exchange(gateway: Gateway, ask: Ask, out: Outlet, watch: Watch, record: Record) -> None:
    """Serve one request. Raises GatewayError for what must still be told to the client."""
    recall: Recall | None = None
    answer: Answer | None = None
    try:
        if ask.session is not None and gateway.memory is not None:
            recall = await gateway.memory.recall(ask.session, ask.client, ask.request)
        if recall is not None and recall.replayed is not None:
            await replay(ask, recall, out)
            return
        answer = await patiently(first_answer, gateway, ask, recall, watch, record)
        turn = Open(gateway=gateway, ask=ask, recall=recall, answer=answer, watch=watch, record=record)
        await (relay(turn, out) if ask.request.stream else deliver(turn, out))
    finally:
        if answer is not None:
            answer.trial.close()
            await answer.response.aclose()
        if recall is not None and gateway.memory is not None:
            recall.note(record)
            await gateway.memory.end(recall)


async def first_answer(gateway: Gateway, ask: Ask, recall: Recall | None, watch: Watch, record: Record) -> Answer:
    """Walk the plan until a target answers, or refuses for good."""
    route = find_route(gateway, ask, record)
    aligned, cut, tag = (recall.aligned, recall.cut, recall.ask.key.tag) if recall else (None, 0, "")
    wish = Wish(recall.seat if recall else None, ask.affinity, next(gateway.turns))
    fitting = Fitting(ask.client, ask.request, aligned, cut=cut, max_turns=gateway.max_turns, tag=tag)
    refusal: UpstreamError | None = None
    for target in plan(route, wish, gateway.fleet.state()):
        trial = await gateway.fleet.enter(target)
        if trial is None:
            continue
        began = watch.now
        try:
            with trial:
                answer = await attempt(gateway, ask, trial, fitting, watch)
        except UpstreamError as error:
            record.outside += watch.now - began
            record.tried(target.provider, target.credential, target.model, error.kind.label)
            refusal = more_useful(refusal, error)
            if is_fault_of_request(error) or watch.now >= watch.deadline or len(record.attempts) >= gateway.attempts:
                break
        else:
            record.tried(target.provider, target.credential, target.model, "served")
            answer.note(record, route, watch.now)
            return answer
    raise refused(refusal, route, gateway.fleet.state())


def find_route(gateway: Gateway, ask: Ask, record: Record) -> Route:
    """The targets of the model that is asked. Raises GatewayError (NOT_FOUND)."""
    route = gateway.table.find(ask.request.model)
    if route is None or not may_use(ask.models, ask.request.model):
        message = f"There is no model {ask.request.model!r} here; GET /v1/models lists those that there are."
        raise GatewayError(Kind.NOT_FOUND, message, param="model", code="model_not_found")
    record.model = route.name
    if not route.targets:
        raise GatewayError(Kind.UNAVAILABLE, f"Each provider of {route.name!r} is switched off.", code="model_disabled")
    return priced(route) if ask.priced else route


async def attempt(gateway: Gateway, ask: Ask, trial: Trial, fitting: Fitting, watch: Watch) -> Answer:
    """Send to one target and wait for its reply, or for the first content of its stream."""
    target = trial.target
    fitted = fitting.fit(target)
    limits = gateway.upstream.timeouts(target)
    skim = fitting.alone and target.dialect == ask.client.NAME
    forwarded = ask.headers_for(target)
    started = watch.expect(limits.first_event if ask.request.stream else limits.reply, "an answer")
    answer: Answer | None = None
    try:
        response = await gateway.upstream.send(target, fitted.body, forwarded, stream=ask.request.stream)
        answer = Answer(target=target, trial=trial, fitted=fitted, response=response, started=started, idle=limits.idle)
        if ask.request.stream and "json" not in response.headers.get("content-type", ""):
            await prime(answer, skim=skim and not ask.metered)
        else:
            answer.data = await read(response)
            skim = skim and not ask.request.stream
            decode, keep = DIALECTS[target.dialect].decode_reply, not fitting.alone
            answer.reply = decode(answer.data, target.origin, skim=skim, keep=keep)
    except (GatewayError, asyncio.CancelledError) as error:
        watch.done()
        if answer is not None:
            await answer.response.aclose()
        raise (error if isinstance(error, GatewayError) else watch.why()) from None
    watch.done()
    return answer


async def deliver(turn: Open, out: Outlet) -> None:
    """A whole reply: settled, then sent (rule S7)."""
    reply = turn.answer.reply or Reply()
    await settle(turn, reply)
    await out.whole(turn.headers(), turn.body(reply))
    await confirm(turn)


async def relay(turn: Open, out: Outlet) -> None:
    """A stream: passed on as it comes; its end is held back until the turn is stored (rule S7)."""
    await out.start(turn.headers())
    builder, passage, held = ReplyBuilder(turn.limit), turn.passage(), b""
    arrived: Arrival | None = turn.answer.begun
    try:
        while arrived is not None:
            data, events = arrived
            for event in events:
                builder.add(event)
            held += passage.carry(data, events)
            raise_failure(events)
            if held and (turn.recall is None or builder.stopped is None):
                await out.write(held)
                held = b""
            arrived = None if builder.ended else await following(turn)
    except (GatewayError, asyncio.CancelledError) as error:
        turn.answer.trial.broke(error)
        await settle(turn, builder.cut(), builder.said, incomplete=True)
        await apologise(turn, passage, error, out, held)
        raise
    try:
        await settle(turn, passage.told(builder.reply()), builder.said, overflown=builder.overflown)
    except GatewayError as error:
        await apologise(turn, passage, error, out)
        raise
    await out.finish(held + passage.close() + turn.afterword())
    await confirm(turn)
    await turn.answer.let_go()


async def apologise(turn: Open, passage: Passage, error: BaseException, out: Outlet, held: bytes = b"") -> None:
    """End a stream that cannot be completed, by the encoder that has written the rest of it."""
    if isinstance(error, GatewayError) and not turn.watch.gone:
        await out.finish(held + passage.fail(error, turn.ask.client.reply_encoder(turn.head)))


async def replay(ask: Ask, recall: Recall, out: Outlet) -> None:
    """The stored reply once more: the client never saw its end (rule S8)."""
    reply, client, head = recall.replayed_reply(), ask.client, reply_head(ask, recall)
    if not ask.request.stream:
        await out.whole(recall.headers(None), client.encode_reply(reply, head))
        return
    await out.start(recall.headers(None))
    encoder = client.reply_encoder(head)
    await out.finish(b"".join(encoder.encode(event) for event in events_of(reply)))


async def settle(turn: Open, reply: Reply, said: int = 0, *, incomplete: bool = False, overflown: bool = False) -> None:
    """The one end of every exchange that a provider answered: counted, and stored if it has a session."""
    turn.watch.done()
    answer, recall, memory = turn.answer, turn.recall, turn.gateway.memory
    turn.note(reply, said, incomplete=incomplete)
    if recall is None or memory is None:
        return
    pin, turn.record.affinity = seat_after(answer.route, recall.seat, answer.target, turn.gateway.fleet.health)
    answered = Answered(
        token=turn.ask.id,
        reply=reply,
        target=answer.target,
        fitted=answer.fitted,
        elapsed=turn.watch.now - turn.watch.started,
        incomplete=incomplete,
        overflown=overflown,
        pin=None if incomplete or pin is None else Pin(*pin),
    )
    await memory.commit(recall, answered)


async def confirm(turn: Open) -> None:
    """If the client left before the end of its reply, the turn is marked, so that asking again replays it."""
    if turn.watch.gone and turn.recall is not None and turn.gateway.memory is not None:
        await asyncio.shield(turn.gateway.memory.unconfirmed(turn.recall, turn.ask.id))
