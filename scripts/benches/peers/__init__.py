"""Warrener beside other systems: the same no-op tasks over the same RabbitMQ node, in turns.

`command` is the command, `systems` says what is compared and how it is set, `rounds` runs it, `figures` and `plot` show
what came out. The rest runs in the environment of the others, which has no Warrener: `driver` submits and measures,
`tally` counts what workers have done, and each `*_app` is one library's task and its way of submitting.
"""
