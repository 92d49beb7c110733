-- Agents' statuses: what each is to be and what the PBX last acknowledged.

CREATE TABLE agent_statuses (
    portal TEXT NOT NULL,
    extension TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    doc TEXT NOT NULL,               -- core.agents.pack
    PRIMARY KEY (portal, extension)
) STRICT, WITHOUT ROWID;
