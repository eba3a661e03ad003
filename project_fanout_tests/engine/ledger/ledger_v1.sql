CREATE TABLE fanout_claims (
	namespace_id VARCHAR(32) NOT NULL, 
	key_id VARCHAR(32) NOT NULL, 
	namespace TEXT NOT NULL, 
	claim_key TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	token VARCHAR(32) NOT NULL, 
	run_id TEXT NOT NULL, 
	claimed_at DOUBLE PRECISION NOT NULL, 
	confirmed_at DOUBLE PRECISION, 
	detail_json TEXT, 
	PRIMARY KEY (namespace_id, key_id)
);
CREATE TABLE fanout_ledger_schema (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "fanout_ledger_schema" VALUES(1);
CREATE TABLE fanout_outcomes (
	scope_id VARCHAR(32) NOT NULL, 
	stage_index INTEGER NOT NULL, 
	record_id VARCHAR(32) NOT NULL, 
	unit_id VARCHAR(32) NOT NULL, 
	lineage TEXT NOT NULL, 
	asset TEXT NOT NULL, 
	partition_key TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	record_key TEXT NOT NULL, 
	stage TEXT NOT NULL, 
	unit_key TEXT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	code_version TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	seconds DOUBLE PRECISION NOT NULL, 
	result_json TEXT, 
	fanout_json TEXT, 
	error_json TEXT, 
	ended_at DOUBLE PRECISION NOT NULL, 
	PRIMARY KEY (scope_id, stage_index, record_id, unit_id)
);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','af10296f37ce64db517b50023172f2e7','lineage-1','word_counts','','run-1','r1','count_words','\u0435\u0449\u0451 \u0000','917679fb238aa226c9b79c2847447737007fdac60fc70665506e2ba9052481df','1','succeeded',1,0.25,'"Za\u017c\u00f3\u0142\u0107"',NULL,NULL,1000.0);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','af3df70875567831b8e5d5fb46607723','lineage-1','word_counts','','run-1','r1','count_words','fans out','33f5e408e649624b748f431980a66be7b463771c66291bf248487d89c0b2bb07','1','succeeded',1,0.25,NULL,'[["child","[1]"],["\u0435\u0449\u0451","null"]]',NULL,1000.0);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','b3b63cb33d04f00d79291d37c20e627a','lineage-1','word_counts','','run-1','r1','count_words','u1','af07da3f3d3bdbe28b828c58a0c977681f691bb35ca64fd59a2aac3b7372c8e5','1','succeeded',1,0.25,'{"words":3}',NULL,NULL,1000.0);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','fa424aa176746c93182ce5e4f75d367a','lineage-1','word_counts','','run-1','r1','count_words','failed','9283eca5a7e2d1f4ff8c689d97c0301bc27c46bc0fdac74341c16b262b41690f','1','failed',3,0.25,NULL,NULL,'{"type": "ValueError", "message": "bad", "traceback": "Traceback"}',1001.0);
CREATE INDEX fanout_outcomes_fingerprint ON fanout_outcomes (fingerprint);
