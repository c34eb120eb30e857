"""The built-in word lists, by strength: data, replaced or extended by `ComplexitySettings`.

English first; the terms of security, compliance, architecture and analysis also in German,
French, Spanish, Portuguese, Italian, Russian, Arabic, Hindi, Chinese, Japanese and Korean.
Strengths are ours: what names a field where mistakes are expensive is strong, what asks for
thorough work is middling, what merely hints at code or calculation is weak.
"""

from __future__ import annotations


def _listed(by_strength: dict[float, str]) -> dict[str, float]:
    """Commas part the words of one strength; line breaks are spaces."""
    return {
        " ".join(word.split()): strength
        for strength, words in by_strength.items()
        for word in words.split(",")
    }


_ENGLISH = _listed(
    {
        0.75: """
            threat model, threat modeling, threat modelling, attack surface, penetration test,
            penetration testing, incident response, privilege escalation, zero-trust, zero-day,
            mutual tls, supply chain attack, distributed system, distributed systems,
            system design, race condition, race conditions, root cause, sql injection,
            remote code execution, disaster recovery, due diligence, formal proof""",
        0.6: """
            vulnerability, vulnerabilities, malware, ransomware, cryptographic, mtls, pentest,
            xss, csrf, cve, gdpr, hipaa, pci-dss, soc 2, iso 27001, data protection,
            risk assessment, scalability, fault tolerance, fault-tolerant, high availability,
            event sourcing, cqrs, trade-off, trade-offs, tradeoff, tradeoffs, deadlock,
            microservice, microservices, multi-region, pros and cons, stack trace, traceback,
            refactor, refactoring, unit test, unit tests, in-depth, step by step""",
        0.4: """
            security, compliance, architecture, architectures, cryptography, encryption,
            authentication, authorization, authorisation, hardening, exploit, exploits, audit,
            architect, architectural, mitigation, mitigations, sharding, concurrency,
            event-driven, scalable, optimize, optimise, optimization, optimisation,
            synthesize, synthesise, critique, diagnose, debug, debugging, prove that,
            kubernetes, terraform, forensics, adversarial""",
        0.35: """
            analyze, analyse, analyzing, analysing, implications, investigate, comprehensive,
            implement, implementation, oauth, pki, python function, write a function,
            write code, write a script, recommend, design a, design an, migrate, codebase,
            differential equation, compare and contrast, explain why, justify, roadmap""",
        0.25: """
            analysis, analyses, assess, assessment, compare, comparison, evaluate, intrusion,
            governance, regulatory, tls, algorithm, algorithms, derive, theorem, prove, proof,
            consensus, replication, javascript, typescript, golang, sql, regex, docker,
            strategic, forecast, latency, throughput, strategy, migration""",
        0.1: """
            design, plan, privacy, threat, threats, attack, attacks, risk, risks, legal,
            liability, regulation, regulations, compliant, secure, firewall, distributed,
            consistency, performance, code, function, python, api, bug, exception, solve,
            equation, integral, probability, calculate, compute, complexity, reasoning,
            hypothesis, evaluation""",
    }
)

_GERMAN = _listed(
    {
        0.55: """
            sicherheit, sicherheitsanalyse, sicherheitslücke, sicherheitslücken,
            schwachstelle, schwachstellen, bedrohungsmodell, bedrohungsanalyse, datenschutz,
            dsgvo, architektur, systemarchitektur""",
        0.4: """
            analysiere, analysieren, bewerte, bewerten, beurteile, auswirkungen, bedrohung,
            bedrohungen, verschlüsselung, angriff, angriffe, konformität, risikobewertung,
            strategie, entwirf, entwerfen, optimiere, optimieren, algorithmus, beweise,
            beweisen, ursachenanalyse, skalierbarkeit""",
        0.25: "vergleiche, vergleichen, begründe, risiko, risiken, berechne, funktion",
    }
)

_ROMANCE = _listed(
    {
        0.55: """
            sécurité, vulnérabilité, vulnérabilités, conformité, rgpd, seguridad,
            vulnerabilidad, vulnerabilidades, cumplimiento, arquitectura, confianza cero,
            segurança, arquitetura, vulnerabilidade, lgpd, sicurezza, architettura,
            vulnerabilità, conformità""",
        0.4: """
            analysez, analyser, évaluer, évaluez, menace, menaces, chiffrement, stratégie,
            optimiser, algorithme, démontrer, démontrez, concevoir, analiza, analice, analizar,
            análisis, evaluar, evalúa, implicaciones, amenaza, amenazas, cifrado, estrategia,
            optimizar, algoritmo, demuestra, demostrar, diseña, diseñar, analise, analisar,
            análise, criptografia, implicações, analizza, analizzare, valuta, implicazioni,
            crittografia, strategia, dimostra""",
        0.25: "comparer, comparez, compara, comparar, riesgo, riesgos, risque, risques, rischi",
    }
)

_OTHER_SCRIPTS = _listed(
    {
        0.55: """
            безопасность, безопасности, уязвимость, уязвимости, архитектура, архитектуры,
            архитектуру, أمن, الأمن, الأمان, الأمنية, ثغرات, بنية, सुरक्षा, 安全, 漏洞, 架构,
            架構, 合规, 零信任, 威胁, セキュリティ, 脆弱性, アーキテクチャ, ゼロトラスト, 脅威,
            보안, 취약점, 아키텍처, 제로 트러스트""",
        0.4: """
            проанализируй, проанализируйте, анализ, оцени, оцените, шифрование, докажи,
            докажите, стратегия, алгоритм, حلل, تحليل, تقييم, تشفير, خوارزمية, विश्लेषण,
            分析, 评估, 評估, 評価, 加密, 暗号, 证明, 證明, 証明, 算法, アルゴリズム, 优化,
            最適化, 策略, 戦略, 隐私, 微服务, 影响, 분석, 평가, 암호화, 알고리즘, 증명""",
        0.25: "сравни, сравните, قارن, 设计, 設計, 比较, 比較, 风险, 代码, 函数, 설계, 비교",
    }
)

KEYWORDS: dict[str, float] = {**_ENGLISH, **_GERMAN, **_ROMANCE, **_OTHER_SCRIPTS}
"""Word or phrase → strength in [0, 1]."""

CAPABILITIES: dict[str, float] = _listed(
    {
        1.0: """
            security, security_analysis, security_audit, threat_modeling, penetration_testing,
            vulnerability_assessment, compliance, regulatory, incident_response""",
        0.9: """
            audit, forensics, legal, medical, clinical, safety, cryptography, fraud,
            architecture, architecture_design, system_design, thinking""",
        0.8: "risk, risk_assessment, finance, financial, privacy, governance",
        0.6: "reasoning, planning, research, analysis, data_analysis, math, strategy, migration",
        0.5: """
            code, coding, code_generation, code_review, programming, debugging, python, sql,
            deployment, orchestration, payment, payments""",
        0.4: "tools, tool_use, function_calling, agent, agent_execution, skill, skill_invocation",
        0.3: "retrieval, rag, database, web, browser, writing, summarization, translation",
        0.2: "search, web_search, extraction, calculator, calendar, email, weather",
        0.1: "chat, qa, simple_qa, faq, greeting, classification, intent_classification, pii",
    }
)
"""Capability → criticality in [0, 1]."""
