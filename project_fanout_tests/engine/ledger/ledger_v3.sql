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
CREATE TABLE fanout_in_work (
	scope_id VARCHAR(32) NOT NULL, 
	stage_index INTEGER NOT NULL, 
	record_id VARCHAR(32) NOT NULL, 
	unit_id VARCHAR(32) NOT NULL, 
	run_id TEXT NOT NULL, 
	runs INTEGER NOT NULL, 
	PRIMARY KEY (scope_id, stage_index, record_id, unit_id)
);
CREATE TABLE fanout_ledger_schema (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "fanout_ledger_schema" VALUES(3);
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
	packed BLOB, 
	error_json TEXT, 
	ended_at DOUBLE PRECISION NOT NULL, 
	cpu_seconds DOUBLE PRECISION, 
	peak_mb DOUBLE PRECISION, 
	PRIMARY KEY (scope_id, stage_index, record_id, unit_id)
);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','80b8637406d955cd3f750fcccc41ad67','lineage-1','word_counts','','run-1','r1','count_words','packed','2845c20a31d7589010d22ea8fe1c988de88ba8f50f010841243f6f2a3127c136','1','succeeded',1,0.25,NULL,NULL,X'0F000000000000005B5B227061636B6564222C31365D5DC1016D6F7265207468616E204A534F4E',NULL,1000.5,0.25,30.5);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','af10296f37ce64db517b50023172f2e7','lineage-1','word_counts','','run-1','r1','count_words','\u0435\u0449\u0451 \u0000','917679fb238aa226c9b79c2847447737007fdac60fc70665506e2ba9052481df','1','succeeded',1,0.25,'"Za\u017c\u00f3\u0142\u0107"',NULL,NULL,NULL,1000.0,0.25,30.5);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','af3df70875567831b8e5d5fb46607723','lineage-1','word_counts','','run-1','r1','count_words','fans out','33f5e408e649624b748f431980a66be7b463771c66291bf248487d89c0b2bb07','1','succeeded',1,0.25,NULL,'[["child","[1]"],["\u0435\u0449\u0451","null"]]',NULL,NULL,1000.0,0.25,30.5);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','b3b63cb33d04f00d79291d37c20e627a','lineage-1','word_counts','','run-1','r1','count_words','u1','af07da3f3d3bdbe28b828c58a0c977681f691bb35ca64fd59a2aac3b7372c8e5','1','succeeded',1,0.25,'{"words":3}',NULL,NULL,NULL,1000.0,0.25,30.5);
INSERT INTO "fanout_outcomes" VALUES('f75efd2eaa3a70ff873b1551fd042e51',0,'38edd8d1053fa194abe91a007ebea087','fa424aa176746c93182ce5e4f75d367a','lineage-1','word_counts','','run-1','r1','count_words','failed','9283eca5a7e2d1f4ff8c689d97c0301bc27c46bc0fdac74341c16b262b41690f','1','failed',3,0.25,NULL,NULL,NULL,'{"type": "ValueError", "message": "bad", "traceback": "Traceback"}',1001.0,0.25,30.5);
CREATE TABLE fanout_rates (
	rate_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	free_at DOUBLE PRECISION NOT NULL, 
	PRIMARY KEY (rate_id)
);
CREATE TABLE fanout_values (
	scope_id VARCHAR(32) NOT NULL, 
	url TEXT NOT NULL, 
	lineage TEXT NOT NULL, 
	asset TEXT NOT NULL, 
	partition_key TEXT NOT NULL, 
	noted_at DOUBLE PRECISION NOT NULL, 
	PRIMARY KEY (scope_id, url)
);
CREATE INDEX fanout_outcomes_fingerprint ON fanout_outcomes (fingerprint);
